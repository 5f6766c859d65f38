"""What puts a run together: costs of its jobs, and report.html.

In: tables, figures, answers, judgments, benchmark files. Out: figures/costs and report.html, one
page that needs nothing beside it.
"""


rule figure_costs:
    """Time and memory of each stage, from the benchmark files of the jobs."""
    input:
        code=code("figure_costs"),
        program=program("figure_costs"),
        scores="<results>/mt_bench/scores.parquet",
    output:
        svg=figure("costs"),
        png="<results>/figures/costs.png",
        csv="<results>/figures/costs.csv",
    log:
        "<logs>/figure_costs.log",
    benchmark:
        "<benchmarks>/figure_costs.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        output=subpath(output.svg, strip_suffix=".svg"),
        benchmarks=f"{RESULTS}/benchmarks",
    shell:
        "python {input.program:q} --benchmarks {params.benchmarks:q} --output {params.output:q}"
        " > {log:q} 2>&1"


ALIGNMENT = [f"{RESULTS}/figures/alignment.csv"] if TAUGHT else []


rule report:
    """One page with the question, the run, tables, figures and example dialogues."""
    input:
        code=code("report"),
        program=program("report"),
        captions=os.path.relpath(Path(workflow.basedir, "resources", "captions")),
        scores="<results>/mt_bench/scores.parquet",
        tables=[rules.write_table1.output.html, rules.write_table2.output.html],
        figures=[f"{RESULTS}/figures/{name}.svg" for name in FIGURE_NAMES],
        costs=rules.figure_costs.output.csv,
        alignment=ALIGNMENT,
        questions=questions,
        answers=collect("<results>/mt_bench/answers/{model}.jsonl", model=SHOWN),
        judgments=collect(f"{RESULTS}/mt_bench/judgments/{JUDGE}/{{model}}.jsonl", model=SHOWN),
        nll=collect("<results>/nll/{model}.json", model=EVALUATED if HELD_OUT else []),
        manifests=[checkpoint(name) for name in EVALUATED],
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
        alignment=flags("--alignment", ALIGNMENT),
        name=lookup(dpath="name", within=config),
        config=CONFIG_FILE,
        rows=ROWS,
        judge=JUDGE,
        judge_model=JUDGE_MODEL,
        baseline=BASELINE,
        main=MATRIX,
        show=SHOWN,
    shell:
        "python {input.program:q} --name {params.name:q} --scores {input.scores:q}"
        " --judge {params.judge:q} --judge-model {params.judge_model:q}"
        " {params.rows:q} --baseline {params.baseline:q} --nll {input.nll:q}"
        " --main {params.main:q} --tables {input.tables:q} --figures {input.figures:q}"
        " --captions {input.captions:q} --questions {input.questions:q}"
        " --answers {input.answers:q} --judgments {input.judgments:q} --show {params.show:q}"
        " --manifests {input.manifests:q} --costs {input.costs:q}"
        " {params.alignment:q} --config {params.config:q}"
        " --output {output.page:q} > {log:q} 2>&1"
