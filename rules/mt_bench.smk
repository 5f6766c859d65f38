"""MT-Bench (section 4.1): every model answers; dialogues held out are scored beside it.

In: models, targets and merged models; questions. Out: mt_bench/answers/{model}.jsonl and
nll/{model}.json.
"""

from fusionchat.mt_bench.fetching import local_files

LOCAL_BENCHMARK = [
    *(
        local_files(Path(config["mt_bench"]["questions"]))
        if "questions" in config["mt_bench"]
        else []
    ),
    *([config["mt_bench"]["references"]] if "references" in config["mt_bench"] else []),
]


rule fetch_questions:
    """MT-Bench's questions, judge prompts and references, locked by checksum or from a folder."""
    input:
        program=program("fetch_questions"),
        local=LOCAL_BENCHMARK,
    output:
        manifest="<results>/mt_bench/questions/manifest.json",
        questions="<results>/mt_bench/questions/question.jsonl",
        prompts="<results>/mt_bench/questions/judge_prompts.jsonl",
        references="<results>/mt_bench/questions/references.jsonl",
    log:
        "<logs>/fetch_questions.log",
    benchmark:
        "<benchmarks>/fetch_questions.tsv"
    retries: 2
    localrule: True
    conda:
        "../envs/mt_bench.yaml"
    threads: 1
    resources:
        mem_mb=1_000,
        runtime=10,
    params:
        code=code("fetch_questions"),
        folder=subpath(output.manifest, parent=True),
        origin=options(config["mt_bench"], "questions", "references"),
    shell:
        "python {input.program:q} {params.origin:q} --output {params.folder:q} > {log:q} 2>&1"


rule answer:
    """Answer the benchmark's two-turn questions."""
    input:
        program=program("answer"),
        model=lambda w: experiment.manifest(w.model),
        questions=experiment.questions,
        template=lambda w: experiment.rendering_files(experiment.answer_rendering(w.model)),
    output:
        answers="<results>/mt_bench/answers/{model}.jsonl",
    log:
        "<logs>/answer/{model}.log",
    benchmark:
        "<benchmarks>/answer/{model}.tsv"
    wildcard_constraints:
        model=any_of(experiment.answering),
    conda:
        "../envs/vllm.yaml" if config["mt_bench"]["engine"] == "vllm" else "../envs/models.yaml"
    threads: model_threads
    resources:
        gpu=model_gpus,
        nodes=1,
        mem_mb=memory(32_000, 256_000),
        runtime=minutes(120, 960),
    params:
        code=code("answer"),
        folder=subpath(input.model, parent=True),
        rendering=lambda w: options(experiment.answer_rendering(w.model)),
        settings=options(
            config["mt_bench"],
            *("max_new_tokens", "batch_size", "choices", "seed", "engine", "top_k"),
        ),
        dtype=lookup(dpath="precision/evaluation", within=config),
        device=answer_device,
        launch=answer_launcher,
    shell:
        "{params.launch} {input.program:q} --model {params.folder:q} --model-id {wildcards.model:q}"
        " --questions {input.questions:q} {params.rendering:q}"
        " {params.settings:q} --dtype {params.dtype} --device {params.device} --threads {threads}"
        " --output {output.answers:q} > {log:q} 2>&1"


rule measure_nll:
    """Negative log-likelihood of dialogues that no model was trained on."""
    input:
        program=program("measure_nll"),
        model=lambda w: experiment.manifest(w.model),
        dialogues="<results>/dialogues/heldout.parquet",
        template=lambda w: experiment.rendering_files(experiment.rendering(w.model)),
    output:
        nll="<results>/nll/{model}.json",
    log:
        "<logs>/measure_nll/{model}.log",
    benchmark:
        "<benchmarks>/measure_nll/{model}.tsv"
    conda:
        "../envs/models.yaml"
    threads: model_threads
    resources:
        gpu=model_gpus,
        nodes=1,
        mem_mb=memory(32_000, 256_000),
        runtime=minutes(60, 480),
    params:
        code=code("measure_nll"),
        folder=subpath(input.model, parent=True),
        rendering=lambda w: options(experiment.rendering(w.model)),
        token_budget=lookup(dpath="logits/token_budget", within=config),
        dtype=lookup(dpath="precision/evaluation", within=config),
        device=lookup(dpath="device", within=config),
        launch=forward_launcher,
        devices=devices,
    shell:
        "{params.launch} {input.program:q} --model {params.folder:q} --dialogues {input.dialogues:q}"
        " {params.rendering:q} --token-budget {params.token_budget}"
        " --dtype {params.dtype} --device {params.device} --devices {params.devices}"
        " --name {wildcards.model:q} --threads {threads} --output {output.nll:q} > {log:q} 2>&1"
