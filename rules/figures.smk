"""Figures of scores and merging weights, one rule and program each.

In: mt_bench/scores.parquet, merged/. Out: figures/{name}.svg and .png.
"""


rule figure_scores:
    """Average score of every model with its interval, and the difference from CLM."""
    input:
        code=code("figure_scores"),
        program=program("figure_scores"),
        scores="<results>/mt_bench/scores.parquet",
    output:
        svg=figure("scores"),
        png="<results>/figures/scores.png",
    log:
        "<logs>/figure_scores.log",
    benchmark:
        "<benchmarks>/figure_scores.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        output=subpath(output.svg, strip_suffix=".svg"),
        rows=ROWS,
        judge=JUDGE,
        baseline=BASELINE,
    shell:
        "python {input.program:q} {params.rows:q} --output {params.output:q}"
        " --scores {input.scores:q} --judge {params.judge:q}"
        " --baseline {params.baseline:q}"
        " > {log:q} 2>&1"


rule figure_radar:
    """Category scores of the sources, CLM and VaRM around a circle."""
    input:
        code=code("figure_radar"),
        program=program("figure_radar"),
        scores="<results>/mt_bench/scores.parquet",
    output:
        svg=figure("radar"),
        png="<results>/figures/radar.png",
    log:
        "<logs>/figure_radar.log",
    benchmark:
        "<benchmarks>/figure_radar.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        output=subpath(output.svg, strip_suffix=".svg"),
        rows=ROWS,
        judge=JUDGE,
        show=SHOWN,
    shell:
        "python {input.program:q} {params.rows:q} --output {params.output:q}"
        " --scores {input.scores:q} --judge {params.judge:q}"
        " --show {params.show:q}"
        " > {log:q} 2>&1"


rule figure1:
    """The paper's Figure 1: VaRM granularities by dialogue turn."""
    input:
        code=code("figure1"),
        program=program("figure1"),
        scores="<results>/mt_bench/scores.parquet",
    output:
        svg=figure("figure1"),
        png="<results>/figures/figure1.png",
    log:
        "<logs>/figure1.log",
    benchmark:
        "<benchmarks>/figure1.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        output=subpath(output.svg, strip_suffix=".svg"),
        rows=ROWS,
        judge=JUDGE,
        show=GRANULARITIES,
    shell:
        "python {input.program:q} {params.rows:q} --output {params.output:q}"
        " --scores {input.scores:q} --judge {params.judge:q}"
        " --show {params.show:q}"
        " > {log:q} 2>&1"


rule figure_weights:
    """VaRM's weights by layer and matrix, a map for each target."""
    input:
        code=code("figure_weights"),
        program=program("figure_weights"),
        weights=f"{RESULTS}/merged/{MATRIX}/weights.csv",
    output:
        svg=figure("weights"),
        png="<results>/figures/weights.png",
    log:
        "<logs>/figure_weights.log",
    benchmark:
        "<benchmarks>/figure_weights.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        output=subpath(output.svg, strip_suffix=".svg"),
        rows=ROWS,
    shell:
        "python {input.program:q} {params.rows:q} --output {params.output:q}"
        " --weights {input.weights:q}"
        " > {log:q} 2>&1"
