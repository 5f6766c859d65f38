"""Tables from finished judgments; nothing here runs a model.

In: mt_bench/scores.parquet, nll/. Out: tables/, as csv, Markdown, LaTeX and HTML.
"""

from fusionchat.command_words import claim_words, null_controls, printed_rows

ROWS = table_rows(experiment, experiment.rows)
GENERATED = "Table 1: generated questions, scored like MT-Bench"
TWICE = list(experiment.merges[experiment.main].targets)[:1] if experiment.main else []


rule write_table1:
    """Table 1: every model by category, with intervals, held-out NLL and percent against CLM."""
    input:
        program=program("table1"),
        paper=resource("paper/table1.csv"),
        scores="<results>/mt_bench/scores.parquet",
        nll=collect("<results>/nll/{model}.json", model=experiment.measured),
        metrics=lambda w: METRICS,
        changes=collect("<results>/variation/{target}.parquet", target=TWICE),
        winners="<results>/figures/winners.csv" if experiment.taught else [],
    output:
        csv="<results>/tables/table1.csv",
        md="<results>/tables/table1.md",
        tex="<results>/tables/table1.tex",
        html=table("table1"),
    log:
        "<logs>/write_table1.log",
    benchmark:
        "<benchmarks>/write_table1.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        code=code("table1"),
        output=subpath(output.csv, strip_suffix=".csv"),
        judge=experiment.judge,
        rows=[*printed_rows(experiment), *ROWS],
        baseline=experiment.baseline,
        details=lambda w, input: [
            *("--judge-model", experiment.judge_model, "--compare", config["report"]["compare"]),
            *("--paper", input.paper, "--nll", *input.nll, "--metrics", *input.metrics),
            *(["--subject", experiment.main] if experiment.main else []),
            *(["--title", GENERATED] if experiment.generated else []),
            *null_controls(experiment),
            *flags("--equal-changes", pairs(TWICE, input.changes)),
            *(["--winners", input.winners] if experiment.taught else []),
        ],
    shell:
        "python {input.program:q} --scores {input.scores:q} --judge {params.judge:q}"
        " {params.rows:q} --baseline {params.baseline:q} {params.details:q}"
        " --output {params.output:q} > {log:q} 2>&1"


use rule write_table1 as write_table2 with:
    """Table 2: VaRM by merging granularity, by category and by turn."""
    input:
        program=program("table2"),
        possible=possible("table2"),
        paper=resource("paper/table2.csv"),
        scores="<results>/mt_bench/scores.parquet",
    output:
        csv="<results>/tables/table2.csv",
        md="<results>/tables/table2.md",
        tex="<results>/tables/table2.tex",
        html=table("table2"),
    log:
        "<logs>/write_table2.log",
    benchmark:
        "<benchmarks>/write_table2.tsv"
    params:
        code=code("table2"),
        rows=table_rows(experiment, experiment.granularities),
        baseline=experiment.main,
        details=lambda w, input: [
            *("--judge-model", experiment.judge_model, "--compare", config["report"]["compare"]),
            *("--paper", input.paper),
        ],


use rule write_table1 as sweep_table with:
    """Models that differ in one setting, compared with the first of them."""
    input:
        program=program("table1"),
        scores="<results>/mt_bench/scores.parquet",
        nll=lambda w: collect(
            "<results>/nll/{model}.json",
            model=[
                name
                for name in experiment.replicates(config["sweeps"][w.sweep])
                if name in experiment.measured
            ],
        ),
    output:
        csv="<results>/sweeps/{sweep}.csv",
        md="<results>/sweeps/{sweep}.md",
        tex="<results>/sweeps/{sweep}.tex",
        html="<results>/sweeps/{sweep}.html",
    log:
        "<logs>/sweep_table/{sweep}.log",
    benchmark:
        "<benchmarks>/sweep_table/{sweep}.tsv"
    params:
        code=code("table1"),
        rows=lambda w: table_rows(experiment, config["sweeps"][w.sweep]),
        baseline=lambda w: config["sweeps"][w.sweep][0],
        details=lambda w, input: ["--nll", *input.nll, "--title", f"Sweep: {w.sweep}"],


rule claims:
    """What the paper claims, the control that each claim must beat, and the verdict."""
    input:
        program=program("claims"),
        possible=possible("claims"),
        scores="<results>/mt_bench/scores.parquet",
        nll=collect("<results>/nll/{model}.json", model=experiment.measured),
        metrics=lambda w: METRICS,
    output:
        csv="<results>/tables/claims.csv",
        md="<results>/tables/claims.md",
        tex="<results>/tables/claims.tex",
        html=table("claims"),
        svg=figure("claims"),
        png="<results>/figures/claims.png",
    log:
        "<logs>/claims.log",
    benchmark:
        "<benchmarks>/claims.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        code=code("claims"),
        output=subpath(output.csv, strip_suffix=".csv"),
        figure=subpath(output.svg, strip_suffix=".svg"),
        judge=experiment.judge,
        rows=ROWS,
        claims=claim_words(experiment),
    shell:
        "python {input.program:q} --scores {input.scores:q} --judge {params.judge:q}"
        " {params.rows:q} --nll {input.nll:q} --metrics {input.metrics:q} {params.claims:q}"
        " --figure {params.figure:q} --output {params.output:q} > {log:q} 2>&1"
