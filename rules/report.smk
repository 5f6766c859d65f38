"""What puts a run together.

In: the run's config, tables, figures, answers, judgments. Out: report.html, one page that needs
nothing beside it.
"""


rule report:
    """One page with the question, the run, tables, figures and example dialogues."""
    input:
        program=program("report"),
        captions=resource("captions"),
        config=rules.write_config.output.config,
        scores="<results>/mt_bench/scores.parquet",
        tables=[
            *([rules.claims.output.html] if experiment.claimed else []),
            rules.write_table1.output.html,
            *([rules.write_table2.output.html] if experiment.main else []),
            *([rules.pairwise.output.html] if "pairwise" in config["mt_bench"] else []),
            *([rules.leaderboard.output.html] if experiment.ranked else []),
            *([rules.alpaca_eval.output.html] if experiment.alpaca_eval else []),
        ],
        picture=rules.claims.output.svg if experiment.claimed else [],
        sweeps=collect(
            "<results>/sweeps/{sweep}.{format}", sweep=config["sweeps"], format=["html", "svg"]
        ),
        figures=collect("<results>/figures/{name}.svg", name=experiment.figures),
        costs=rules.figure_costs.output.csv,
        alignment=rules.figure_alignment.output.csv if experiment.taught else [],
        winners=rules.figure_winners.output.csv if experiment.taught else [],
        questions=experiment.questions,
        answers=collect("<results>/mt_bench/answers/{model}.jsonl", model=experiment.shown),
        judgments=collect(
            f"{RESULTS}/mt_bench/judgments/{experiment.judge}/{{model}}.jsonl",
            model=experiment.shown,
        ),
        nll=collect("<results>/nll/{model}.json", model=experiment.measured),
        metrics=lambda w: METRICS,
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
        code=code("report"),
        details=lambda w, input: [
            *flags("--picture", [input.picture] if input.picture else []),
            *flags("--alignment", [input.alignment] if input.alignment else []),
            *flags("--winners", [input.winners] if input.winners else []),
        ],
    shell:
        "python {input.program:q} --configfile {input.config:q} --scores {input.scores:q}"
        " --nll {input.nll:q} --metrics {input.metrics:q} --tables {input.tables:q} --figures {input.figures:q}"
        " --captions {input.captions:q} --questions {input.questions:q}"
        " --answers {input.answers:q} --judgments {input.judgments:q}"
        " --manifests {input.manifests:q} --costs {input.costs:q}"
        " {params.details:q} --sweeps {input.sweeps:q}"
        " --output {output.page:q} > {log:q} 2>&1"


rule show_results:
    """Print the claims and Table 1, and say where the run's files are."""
    input:
        program=program("show_results"),
        page=rules.report.output.page,
    log:
        "<logs>/show_results.log",
    localrule: True
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=1_000,
        runtime=10,
    params:
        code=code("show_results"),
        run=subpath(input.page, parent=True),
    shell:
        "python {input.program:q} --run {params.run:q} | tee {log:q}"
