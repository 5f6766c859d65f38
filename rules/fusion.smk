"""The fusion function (equation 3): which distributions teach a target.

In: the pivot's logits and the aligned logits of the target's sources.
Out: fused/{target}/{shard}.parquet, with the winner and every cross-entropy of each dialogue.
"""


rule fuse_distributions:
    """Choose the teacher's distributions for each dialogue, MinCE by default."""
    input:
        program=program("fuse_distributions"),
        pivot_logits=f"{RESULTS}/logits/{PIVOT}/{{shard}}.parquet",
        aligned=lambda w: collect(
            "<results>/aligned/{source}/{{shard}}.parquet", source=experiment.aligned(w.target)
        ),
        reports=lambda w: collect(
            "<results>/alignment/{source}.json", source=experiment.aligned(w.target)
        ),
    output:
        store="<results>/fused/{target}/{shard}.parquet",
    log:
        "<logs>/fuse_distributions/{target}/{shard}.log",
    benchmark:
        "<benchmarks>/fuse_distributions/{target}/{shard}.tsv"
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        group_load=12,
        mem_mb=memory(4_000, 32_000),
        runtime=minutes(60, 480),
    params:
        code=code("fuse_distributions"),
        pivot=PIVOT,
        sources=lambda w, input: flags(
            "--source", pairs(experiment.others(w.target), input.aligned)
        ),
        settings=lambda w: options(experiment.targets[w.target].fusion),
    shell:
        "python {input.program:q} --pivot-logits {input.pivot_logits:q}"
        " --pivot-name {params.pivot:q} {params.sources:q} {params.settings:q}"
        " --output {output.store:q} > {log:q} 2>&1"
