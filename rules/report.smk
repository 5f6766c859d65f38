"""What puts a run together: the case study, costs, memory, and report.html.

In: tables, figures, answers, judgments, benchmark files. Out: tables/, figures/costs and
report.html, one page that needs nothing beside it.
"""


rule case_study:
    """The paper's Tables 3 to 6: one question, several models, their judgments."""
    input:
        code=code("case_study"),
        program=program("case_study"),
        questions=questions,
        answers=collect("<results>/mt_bench/answers/{model}.jsonl", model=SHOWN),
        judgments=collect(f"{RESULTS}/mt_bench/judgments/{JUDGE}/{{model}}.jsonl", model=SHOWN),
    output:
        csv="<results>/tables/case_study.csv",
        md="<results>/tables/case_study.md",
        tex="<results>/tables/case_study.tex",
        html=table("case_study"),
    log:
        "<logs>/case_study.log",
    benchmark:
        "<benchmarks>/case_study.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        output=subpath(output.csv, strip_suffix=".csv"),
        rows=ROWS,
        show=SHOWN,
        judge=JUDGE,
    shell:
        "python {input.program:q} --questions {input.questions:q} --answers {input.answers:q}"
        " --judgments {input.judgments:q} --judge {params.judge:q} {params.rows:q}"
        " --show {params.show:q} --output {params.output:q} > {log:q} 2>&1"


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


rule memory_efficiency:
    """Parameters, memory and speed of the fused model against the sources together."""
    input:
        code=code("memory_efficiency"),
        program=program("memory_efficiency"),
        sources=collect("<results>/models/{model}/manifest.json", model=config["models"]),
        fused=checkpoint(MATRIX) if MATRIX else [],
    output:
        csv="<results>/tables/memory_efficiency.csv",
        md="<results>/tables/memory_efficiency.md",
        tex="<results>/tables/memory_efficiency.tex",
        html=table("memory_efficiency"),
    log:
        "<logs>/memory_efficiency.log",
    benchmark:
        "<benchmarks>/memory_efficiency.tsv"
    conda:
        "../envs/models.yaml"
    threads: gpu_threads
    resources:
        gpu=max(model["gpu"] for model in config["models"].values()),
        nodes=1,
        mem_mb=grows(128_000, 480_000),
        runtime=grows(120, 480),
    params:
        output=subpath(output.csv, strip_suffix=".csv"),
        rows=ROWS,
        fused=f"{MATRIX}={RESULTS}/merged/{MATRIX}",
        sources=[f"{name}={RESULTS}/models/{name}" for name in config["models"]],
        dtype=lookup(dpath="logits/dtype", within=config),
        device=lookup(dpath="device", within=config),
    shell:
        "python {input.program:q} {params.rows:q} --fused {params.fused:q}"
        " --source {params.sources:q} --dtype {params.dtype} --device {params.device}"
        " --threads {threads} --output {params.output:q} > {log:q} 2>&1"


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
        manifests=[checkpoint(name) for name in EVALUATED],
    output:
        page="<results>/report.html",
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
        baseline=BASELINE,
        main=MATRIX,
        show=SHOWN,
    shell:
        "python {input.program:q} --name {params.name:q} --scores {input.scores:q}"
        " --judge {params.judge:q} {params.rows:q} --baseline {params.baseline:q}"
        " --main {params.main:q} --tables {input.tables:q} --figures {input.figures:q}"
        " --captions {input.captions:q} --questions {input.questions:q}"
        " --answers {input.answers:q} --judgments {input.judgments:q} --show {params.show:q}"
        " --manifests {input.manifests:q} --costs {input.costs:q}"
        " {params.alignment:q} --config {params.config:q}"
        " --output {output.page:q} > {log:q} 2>&1"
