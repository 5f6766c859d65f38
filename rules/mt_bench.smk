"""MT-Bench (section 4.1): every model answers; dialogues held out are scored beside it.

In: models, targets and merged models; questions. Out: mt_bench/answers/{model}.jsonl and
nll/{model}.json.
"""


rule fetch_questions:
    """MT-Bench's questions, judge prompts and references, locked by checksum or from a folder."""
    input:
        code=code("fetch_questions"),
        program=program("fetch_questions"),
        local=local_benchmark,
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
        folder=subpath(output.manifest, parent=True),
        origin=benchmark_flags(),
    shell:
        "python {input.program:q} {params.origin:q} --output {params.folder:q} > {log:q} 2>&1"


VLLM = config["mt_bench"]["engine"] == "vllm"


rule answer:
    """Answer the benchmark's two-turn questions."""
    input:
        code=code("answer"),
        program=program("answer"),
        model=model_checkpoint,
        questions=questions,
    output:
        answers="<results>/mt_bench/answers/{model}.jsonl",
    log:
        "<logs>/answer/{model}.log",
    benchmark:
        "<benchmarks>/answer/{model}.tsv"
    wildcard_constraints:
        model=any_of([name for name in RATED if name not in ELSEWHERE]),
    conda:
        "../envs/vllm.yaml" if VLLM else "../envs/models.yaml"
    threads: gpu_threads
    resources:
        gpu=model_gpus,
        nodes=1,
        mem_mb=grows(32_000, 256_000),
        runtime=grows(120, 960),
    params:
        folder=subpath(input.model, parent=True),
        template=answer_template,
        max_new_tokens=lookup(dpath="mt_bench/max_new_tokens", within=config),
        batch_size=lookup(dpath="mt_bench/batch_size", within=config),
        choices=lookup(dpath="mt_bench/choices", within=config),
        seed=lookup(dpath="mt_bench/seed", within=config),
        decoding=decoding_flags(),
        dtype=lookup(dpath="logits/dtype", within=config),
        device=answer_device,
        launch=answer_launcher,
    shell:
        "{params.launch} {input.program:q} --model {params.folder:q} --model-id {wildcards.model:q}"
        " --questions {input.questions:q} --template {params.template:q}"
        " --max-new-tokens {params.max_new_tokens} --batch-size {params.batch_size}"
        " --choices {params.choices} --seed {params.seed} {params.decoding:q} --dtype {params.dtype}"
        " --device {params.device} --threads {threads}"
        " --output {output.answers:q} > {log:q} 2>&1"


rule measure_nll:
    """Negative log-likelihood of dialogues that no model was trained on."""
    input:
        code=code("measure_nll"),
        program=program("measure_nll"),
        model=model_checkpoint,
        dialogues="<results>/dialogues/heldout.parquet",
    output:
        nll="<results>/nll/{model}.json",
    log:
        "<logs>/measure_nll/{model}.log",
    benchmark:
        "<benchmarks>/measure_nll/{model}.tsv"
    conda:
        "../envs/models.yaml"
    threads: gpu_threads
    resources:
        gpu=model_gpus,
        nodes=1,
        mem_mb=grows(32_000, 256_000),
        runtime=grows(60, 480),
    params:
        folder=subpath(input.model, parent=True),
        template=lookup(dpath="template", within=config),
        token_budget=lookup(dpath="logits/token_budget", within=config),
        dtype=lookup(dpath="logits/dtype", within=config),
        device=lookup(dpath="device", within=config),
        launch=forward_launcher,
        devices=devices,
    shell:
        "{params.launch} {input.program:q} --model {params.folder:q} --dialogues {input.dialogues:q}"
        " --template {params.template:q} --token-budget {params.token_budget}"
        " --dtype {params.dtype} --device {params.device} --devices {params.devices}"
        " --name {wildcards.model:q} --threads {threads} --output {output.nll:q} > {log:q} 2>&1"
