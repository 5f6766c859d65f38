"""Further results of the paper: its case study, and what one fused model saves.

In: answers, judgments, checkpoints. Out: tables/case_study and tables/memory_efficiency.
"""

CASE = (
    [experiment.baseline, *experiment.merges[experiment.main].targets, experiment.main]
    if experiment.main
    else [experiment.baseline]
)


rule case_study:
    """The paper's Tables 3 to 6: one question, CLM, the merged targets, VaRM, their judgments."""
    input:
        program=program("case_study"),
        paper=resource("paper/case_study.csv"),
        questions=experiment.questions,
        answers=collect("<results>/mt_bench/answers/{model}.jsonl", model=CASE),
        judgments=collect(
            f"{RESULTS}/mt_bench/judgments/{experiment.judge}/{{model}}.jsonl", model=CASE
        ),
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
        code=code("case_study"),
        output=subpath(output.csv, strip_suffix=".csv"),
        rows=ROWS,
        show=CASE,
        judge=experiment.judge,
        generated="--generated" if experiment.generated else [],
    shell:
        "python {input.program:q} --questions {input.questions:q} --answers {input.answers:q}"
        " --judgments {input.judgments:q} --judge {params.judge:q} {params.rows:q}"
        " --show {params.show:q} --paper {input.paper:q} {params.generated:q}"
        " --output {params.output:q} > {log:q} 2>&1"


rule memory_efficiency:
    """Parameters, memory and speed of the fused model against the sources together."""
    input:
        program=program("memory_efficiency"),
        possible=possible("memory_efficiency"),
        sources=collect("<results>/models/{model}/manifest.json", model=experiment.source_llms),
        fused=experiment.manifest(experiment.main) if experiment.main else [],
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
    threads: model_threads
    resources:
        gpu=MOST_GPUS,
        nodes=1,
        mem_mb=memory(128_000, 480_000),
        runtime=minutes(120, 480),
    params:
        code=code("memory_efficiency"),
        output=subpath(output.csv, strip_suffix=".csv"),
        rows=ROWS,
        fused=f"{experiment.main}={RESULTS}/merged/{experiment.main}",
        sources=lambda w, input: pairs(experiment.source_llms, folders(input.sources)),
        dtype=lookup(dpath="logits/dtype", within=config),
        device=lookup(dpath="device", within=config),
        launch=own_gpus(MOST_GPUS) + "python",
    shell:
        "{params.launch} {input.program:q} {params.rows:q} --fused {params.fused:q}"
        " --source {params.sources:q} --dtype {params.dtype} --device {params.device}"
        " --threads {threads} --output {params.output:q} > {log:q} 2>&1"
