"""Figures of scores, merging weights and sweeps, one program each.

In: mt_bench/scores.parquet, merged/. Out: figures/{name}.svg and .png, sweeps/{sweep}.svg and .png.
"""

from fusionchat.command_words import sweep_values

NUMERIC = [name for name, rows in config["sweeps"].items() if sweep_values(experiment, rows)]
SCORES = ["--scores", f"{RESULTS}/mt_bench/scores.parquet", "--judge", experiment.judge]


rule figure_scores:
    """Average score of every model with its interval, and the difference from CLM."""
    input:
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
        code=code("figure_scores"),
        output=subpath(output.svg, strip_suffix=".svg"),
        rows=ROWS,
        details=[*SCORES, "--baseline", experiment.baseline],
    shell:
        "python {input.program:q} {params.rows:q} --output {params.output:q} {params.details:q}"
        " > {log:q} 2>&1"


use rule figure_scores as figure_nll with:
    """Held-out likelihood of every target and merge, as differences from CLM and Self."""
    input:
        program=program("figure_nll"),
        possible=possible("nll"),
        nll=collect("<results>/nll/{model}.json", model=experiment.measured),
    output:
        svg=figure("nll"),
        png="<results>/figures/nll.png",
    log:
        "<logs>/figure_nll.log",
    benchmark:
        "<benchmarks>/figure_nll.tsv"
    params:
        code=code("figure_nll"),
        details=lambda w, input: ["--nll", *input.nll, "--against", *experiment.controls],


use rule figure_scores as figure_radar with:
    """Category scores of the sources, CLM and VaRM around a circle."""
    input:
        program=program("figure_radar"),
        scores="<results>/mt_bench/scores.parquet",
    output:
        svg=figure("radar"),
        png="<results>/figures/radar.png",
    log:
        "<logs>/figure_radar.log",
    benchmark:
        "<benchmarks>/figure_radar.tsv"
    params:
        code=code("figure_radar"),
        details=[*SCORES, "--show", *experiment.shown],


use rule figure_scores as figure1 with:
    """The paper's Figure 1: VaRM granularities by dialogue turn."""
    input:
        program=program("figure1"),
        possible=possible("figure1"),
        scores="<results>/mt_bench/scores.parquet",
    output:
        svg=figure("figure1"),
        png="<results>/figures/figure1.png",
    log:
        "<logs>/figure1.log",
    benchmark:
        "<benchmarks>/figure1.tsv"
    params:
        code=code("figure1"),
        details=[*SCORES, "--show", *experiment.granularities],


use rule figure_scores as figure_weights with:
    """VaRM's weights by layer and matrix, a map for each target."""
    input:
        program=program("figure_weights"),
        possible=possible("weights"),
        weights=f"{RESULTS}/merged/{experiment.main}/weights.csv",
    output:
        svg=figure("weights"),
        png="<results>/figures/weights.png",
    log:
        "<logs>/figure_weights.log",
    benchmark:
        "<benchmarks>/figure_weights.tsv"
    params:
        code=code("figure_weights"),
        details=lambda w, input: ["--weights", input.weights],


use rule figure_scores as sweep_figure with:
    """Models that differ in one setting: averages with intervals, differences from the first."""
    input:
        program=program("figure_scores"),
        scores="<results>/mt_bench/scores.parquet",
    output:
        svg="<results>/sweeps/{sweep}.svg",
        png="<results>/sweeps/{sweep}.png",
    log:
        "<logs>/sweep_figure/{sweep}.log",
    benchmark:
        "<benchmarks>/sweep_figure/{sweep}.tsv"
    params:
        code=code("figure_scores"),
        rows=lambda w: table_rows(experiment, config["sweeps"][w.sweep]),
        details=lambda w: [*SCORES, "--baseline", config["sweeps"][w.sweep][0]],


use rule sweep_figure as sweep_curve with:
    """Models that differ in a number: scores and likelihoods over it."""
    input:
        program=program("sweep_curve"),
        scores="<results>/mt_bench/scores.parquet",
        nll=rules.sweep_table.input.nll,
    log:
        "<logs>/sweep_curve/{sweep}.log",
    benchmark:
        "<benchmarks>/sweep_curve/{sweep}.tsv"
    wildcard_constraints:
        sweep=any_of(NUMERIC),
    params:
        code=code("sweep_curve"),
        details=lambda w, input: [
            *(*SCORES, "--nll", *input.nll),
            *sweep_values(experiment, config["sweeps"][w.sweep]),
        ],


ruleorder: sweep_curve > sweep_figure
