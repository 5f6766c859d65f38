"""Figures of the stages before the benchmark, one rule and program each.

In: logits, aligned and fused shards, losses.
Out: figures/{name}.svg and .png.
"""


rule figure_alignment:
    """How the tokens of each source align, and how much probability arrives."""
    input:
        code=code("figure_alignment"),
        program=program("figure_alignment"),
        aligned=collect("<results>/aligned/{source}/{shard}.parquet", source=SOURCES, shard=SHARDS),
    output:
        svg=figure("alignment"),
        png="<results>/figures/alignment.png",
        csv="<results>/figures/alignment.csv",
    log:
        "<logs>/figure_alignment.log",
    benchmark:
        "<benchmarks>/figure_alignment.tsv"
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=grows(4_000, 32_000),
        runtime=grows(30, 240),
    params:
        output=subpath(output.svg, strip_suffix=".svg"),
        rows=ROWS,
        aligned=shards_of("aligned", SOURCES),
    shell:
        "python {input.program:q} {params.rows:q} --output {params.output:q}"
        " --aligned {params.aligned:q}"
        " > {log:q} 2>&1"


rule figure_cross_entropy:
    """Cross-entropy of each dialogue under the pivot and under each source."""
    input:
        code=code("figure_cross_entropy"),
        program=program("figure_cross_entropy"),
        stores=collect(
            "<results>/logits/{model}/{shard}.parquet", model=config["models"], shard=SHARDS
        ),
    output:
        svg=figure("cross_entropy"),
        png="<results>/figures/cross_entropy.png",
    log:
        "<logs>/figure_cross_entropy.log",
    benchmark:
        "<benchmarks>/figure_cross_entropy.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        output=subpath(output.svg, strip_suffix=".svg"),
        rows=ROWS,
        pivot=shards_of("logits", [PIVOT]),
        sources=shards_of("logits", SOURCES),
    shell:
        "python {input.program:q} {params.rows:q} --output {params.output:q}"
        " --pivot {params.pivot:q} --source {params.sources:q}"
        " > {log:q} 2>&1"


rule figure_winners:
    """Share of dialogues that each model teaches, by target and category."""
    input:
        code=code("figure_winners"),
        program=program("figure_winners"),
        fused=collect("<results>/fused/{target}/{shard}.parquet", target=TAUGHT, shard=SHARDS),
        dialogues=collect("<results>/dialogues/{shard}.parquet", shard=SHARDS),
    output:
        svg=figure("winners"),
        png="<results>/figures/winners.png",
    log:
        "<logs>/figure_winners.log",
    benchmark:
        "<benchmarks>/figure_winners.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        output=subpath(output.svg, strip_suffix=".svg"),
        rows=ROWS,
        fused=shards_of("fused", TAUGHT),
    shell:
        "python {input.program:q} {params.rows:q} --output {params.output:q}"
        " --fused {params.fused:q} --dialogues {input.dialogues:q}"
        " > {log:q} 2>&1"


rule figure_losses:
    """Training loss of each target."""
    input:
        code=code("figure_losses"),
        program=program("figure_losses"),
        losses=collect("<results>/targets/{target}/loss.csv", target=TRAINED),
    output:
        svg=figure("losses"),
        png="<results>/figures/losses.png",
    log:
        "<logs>/figure_losses.log",
    benchmark:
        "<benchmarks>/figure_losses.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        output=subpath(output.svg, strip_suffix=".svg"),
        rows=ROWS,
        losses=loss_files,
    shell:
        "python {input.program:q} {params.rows:q} --output {params.output:q}"
        " --loss {params.losses:q}"
        " > {log:q} 2>&1"
