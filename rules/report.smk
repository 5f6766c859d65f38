"""What puts a run together.

In: tables, figures, answers, judgments. Out: report.html, one page that needs nothing beside it.
"""


rule report:
    """One page with the question, the run, tables, figures and example dialogues."""
    input:
        code=code("report"),
        program=program("report"),
        captions=resource("captions"),
        config=rules.write_config.output.config,
        scores="<results>/mt_bench/scores.parquet",
        tables=[rules.write_table1.output.html, rules.write_table2.output.html],
        figures=collect("<results>/figures/{name}.svg", name=experiment.figures),
        costs=rules.figure_costs.output.csv,
        alignment=rules.figure_alignment.output.csv if experiment.taught else [],
        questions=experiment.questions,
        answers=collect("<results>/mt_bench/answers/{model}.jsonl", model=experiment.shown),
        judgments=collect(
            f"{RESULTS}/mt_bench/judgments/{experiment.judge}/{{model}}.jsonl",
            model=experiment.shown,
        ),
        nll=collect("<results>/nll/{model}.json", model=experiment.measured),
        manifests=[experiment.manifest(name) for name in experiment.evaluated],
    output:
        page=report(
            f"{RESULTS}/report.html", caption="../resources/captions/report.rst", category="Report"
        ),
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        alignment=lambda w, input: flags(
            "--alignment", [input.alignment] if input.alignment else []
        ),
        name=lookup(dpath="name", within=config),
        rows=ROWS,
        judge=experiment.judge,
        judge_model=experiment.judge_model,
        baseline=experiment.baseline,
        main=experiment.main,
        show=experiment.shown,
    shell:
        "python {input.program:q} --name {params.name:q} --scores {input.scores:q}"
        " --judge {params.judge:q} --judge-model {params.judge_model:q}"
        " {params.rows:q} --baseline {params.baseline:q} --nll {input.nll:q}"
        " --main {params.main:q} --tables {input.tables:q} --figures {input.figures:q}"
        " --captions {input.captions:q} --questions {input.questions:q}"
        " --answers {input.answers:q} --judgments {input.judgments:q} --show {params.show:q}"
        " --manifests {input.manifests:q} --costs {input.costs:q}"
        " {params.alignment:q} --config {input.config:q}"
        " --output {output.page:q} > {log:q} 2>&1"
