"""Tasks of lm-evaluation-harness, such as the Open LLM Leaderboard's: scores without any judge.

In: models, targets and merged models; the config's `leaderboard`. Out: datasets/{name}/ and tasks/
(what is asked), evaluate_tasks/{model}.parquet (a score a document), tables/leaderboard.
"""

from fusionchat.command_words import leaderboard_tasks, task_columns


rule make_tasks:
    """The generated world's questions as local tasks."""
    input:
        program=program("make_tasks"),
    output:
        manifest="<results>/tasks/manifest.json",
    log:
        "<logs>/make_tasks.log",
    benchmark:
        "<benchmarks>/make_tasks.tsv"
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        code=code("make_tasks"),
        folder=subpath(output.manifest, parent=True),
        seed=lookup(dpath="data/world/seed", within=config, default=None),
        questions=lookup(dpath="data/world/questions", within=config, default=None),
    shell:
        "python {input.program:q} --seed {params.seed} --questions {params.questions}"
        " --output {params.folder:q} > {log:q} 2>&1"


rule fetch_dataset:
    """Download a task's data set at its locked commit."""
    input:
        program=program("fetch_dataset"),
        lock=lambda w: origins.lock(w.dataset),
    output:
        manifest="<results>/datasets/{dataset}/manifest.json",
    log:
        "<logs>/fetch_dataset/{dataset}.log",
    benchmark:
        "<benchmarks>/fetch_dataset/{dataset}.tsv"
    wildcard_constraints:
        dataset=any_of(map(re.escape, origins.task_data)),
    retries: 2
    localrule: True
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=60,
    params:
        code=code("fetch_dataset"),
        folder=subpath(output.manifest, parent=True),
    shell:
        "python {input.program:q} --lock {input.lock:q} --name {wildcards.dataset:q}"
        " --output {params.folder:q} > {log:q} 2>&1"


rule evaluate_tasks:
    """One model's scores on all tasks, document by document."""
    input:
        program=program("evaluate_tasks"),
        model=lambda w: experiment.manifest(w.model),
        tasks=experiment.task_files,
        generated=rules.make_tasks.output.manifest if "world" in config["data"] else [],
        data=[origins.task_manifest(name) for name in origins.task_data],
    output:
        scores="<results>/evaluate_tasks/{model}.parquet",
    log:
        "<logs>/evaluate_tasks/{model}.log",
    benchmark:
        "<benchmarks>/evaluate_tasks/{model}.tsv"
    wildcard_constraints:
        model=any_of(experiment.answering),
    conda:
        "../envs/vllm.yaml" if config["leaderboard"]["engine"] == "vllm" else "../envs/models.yaml"
    threads: model_threads
    resources:
        gpu=model_gpus,
        nodes=1,
        mem_mb=memory(32_000, 256_000),
        runtime=minutes(480, 2880),
    params:
        code=code("evaluate_tasks"),
        folder=subpath(input.model, parent=True),
        folders=flags("--folder", experiment.task_folders),
        data=flags("--data", origins.task_folders),
        tasks=leaderboard_tasks(experiment),
        settings=options(config["leaderboard"], "limit", "batch_size", "engine", "chat_template"),
        dtype=lookup(dpath="precision/evaluation", within=config),
        device=answer_device,
        launch=answer_launcher,
    shell:
        "{params.launch} {input.program:q} --model {params.folder:q} {params.folders:q}"
        " {params.data:q} {params.tasks:q} {params.settings:q}"
        " --dtype {params.dtype} --device {params.device} --threads {threads}"
        " --output {output.scores:q} > {log:q} 2>&1"


rule leaderboard:
    """Scores with standard errors, paired differences, and what was published."""
    input:
        program=program("leaderboard"),
        published=resource("paper/leaderboard.csv"),
        scores=collect(
            "<results>/evaluate_tasks/{model}.parquet",
            model=experiment.replicates(experiment.ranked),
        ),
    output:
        csv="<results>/tables/leaderboard.csv",
        md="<results>/tables/leaderboard.md",
        tex="<results>/tables/leaderboard.tex",
        html=table("leaderboard"),
    log:
        "<logs>/leaderboard.log",
    benchmark:
        "<benchmarks>/leaderboard.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        code=code("leaderboard"),
        output=subpath(output.csv, strip_suffix=".csv"),
        tasks=task_columns(experiment),
        rows=table_rows(experiment, experiment.ranked),
        baseline=experiment.ranked_baseline,
        published=lambda w, input: (
            ["--published", input.published] if config["report"]["compare"] == "verdicts" else []
        ),
    shell:
        "python {input.program:q} --scores {input.scores:q} {params.tasks:q} {params.rows:q}"
        " --baseline {params.baseline:q} {params.published:q}"
        " --output {params.output:q} > {log:q} 2>&1"
