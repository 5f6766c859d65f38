"""Tables from finished judgments; nothing here runs a model.

In: mt_bench/scores.parquet, nll/. Out: tables/, as csv, Markdown, LaTeX and HTML.
"""


rule write_table1:
    """Table 1: every model by category, with intervals, held-out NLL and percent against CLM."""
    input:
        code=code("table1"),
        program=program("table1"),
        paper=paper("table1"),
        scores="<results>/mt_bench/scores.parquet",
        nll=collect("<results>/nll/{model}.json", model=EVALUATED if HELD_OUT else []),
        changes=collect("<results>/variation/{target}.parquet", target=TWICE),
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
        output=subpath(output.csv, strip_suffix=".csv"),
        rows=[*PRINTED_ROWS, *ROWS],
        judge=JUDGE,
        judge_model=JUDGE_MODEL,
        baseline=BASELINE,
        compare=lookup(dpath="report/compare", within=config),
        nulls=null_controls,
        twice=equal_changes,
    shell:
        "python {input.program:q} --scores {input.scores:q} --judge {params.judge:q}"
        " --judge-model {params.judge_model:q}"
        " {params.rows:q} --baseline {params.baseline:q} --nll {input.nll:q}"
        " --paper {input.paper:q} --compare {params.compare} {params.nulls:q} {params.twice:q}"
        " --output {params.output:q} > {log:q} 2>&1"


rule write_table2:
    """Table 2: VaRM by merging granularity, by category and by turn."""
    input:
        code=code("table2"),
        program=program("table2"),
        paper=paper("table2"),
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
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        output=subpath(output.csv, strip_suffix=".csv"),
        rows=table_rows(GRANULARITIES),
        judge=JUDGE,
        judge_model=JUDGE_MODEL,
        baseline=MATRIX,
        compare=lookup(dpath="report/compare", within=config),
    shell:
        "python {input.program:q} --scores {input.scores:q} --judge {params.judge:q}"
        " --judge-model {params.judge_model:q}"
        " {params.rows:q} --baseline {params.baseline:q} --paper {input.paper:q}"
        " --compare {params.compare} --output {params.output:q} > {log:q} 2>&1"


rule sweep_table:
    """Models that differ in one setting, compared with the first of them."""
    input:
        code=code("table1"),
        program=program("table1"),
        scores="<results>/mt_bench/scores.parquet",
        nll=sweep_nll,
    output:
        csv="<results>/sweeps/{sweep}.csv",
        md="<results>/sweeps/{sweep}.md",
        tex="<results>/sweeps/{sweep}.tex",
        html="<results>/sweeps/{sweep}.html",
    log:
        "<logs>/sweep_table/{sweep}.log",
    benchmark:
        "<benchmarks>/sweep_table/{sweep}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        output=subpath(output.csv, strip_suffix=".csv"),
        rows=sweep_rows,
        judge=JUDGE,
        baseline=sweep_baseline,
    shell:
        "python {input.program:q} --scores {input.scores:q} --judge {params.judge:q}"
        " {params.rows:q} --baseline {params.baseline:q} --nll {input.nll:q}"
        " --title 'Sweep: {wildcards.sweep}' --output {params.output:q} > {log:q} 2>&1"


rule sweep_figure:
    """The same as a figure: averages with intervals, and differences from the first."""
    input:
        code=code("figure_scores"),
        program=program("figure_scores"),
        scores="<results>/mt_bench/scores.parquet",
    output:
        svg="<results>/sweeps/{sweep}.svg",
        png="<results>/sweeps/{sweep}.png",
    log:
        "<logs>/sweep_figure/{sweep}.log",
    benchmark:
        "<benchmarks>/sweep_figure/{sweep}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        output=subpath(output.svg, strip_suffix=".svg"),
        rows=sweep_rows,
        judge=JUDGE,
        baseline=sweep_baseline,
    shell:
        "python {input.program:q} {params.rows:q} --output {params.output:q}"
        " --scores {input.scores:q} --judge {params.judge:q}"
        " --baseline {params.baseline:q} > {log:q} 2>&1"
