"""Distribution matrices of every source LLM (section 3.2): top-k logits of response positions.

In: models/{model}/, dialogues/{shard}.parquet. Out: logits/{model}/{shard}.parquet, and beside it
a report of the dialogues that the model could not score.
"""


rule dump_logits:
    """Store the top-k log-probabilities of one model on one shard."""
    input:
        code=code("dump_logits"),
        program=program("dump_logits"),
        model="<results>/models/{model}/manifest.json",
        dialogues="<results>/dialogues/{shard}.parquet",
    output:
        store="<results>/logits/{model}/{shard}.parquet",
        report="<results>/logits/{model}/{shard}.json",
    log:
        "<logs>/dump_logits/{model}/{shard}.log",
    benchmark:
        "<benchmarks>/dump_logits/{model}/{shard}.tsv"
    conda:
        "../envs/models.yaml"
    threads: gpu_threads
    resources:
        gpu=model_gpus,
        nodes=1,
        mem_mb=grows(64_000, 480_000),
        runtime=grows(240, 2_880),
    params:
        model=subpath(input.model, parent=True),
        template=lookup(dpath="template", within=config),
        top_k=lookup(dpath="logits/top_k", within=config),
        token_budget=lookup(dpath="logits/token_budget", within=config),
        dtype=lookup(dpath="logits/dtype", within=config),
        device=lookup(dpath="device", within=config),
        launch=forward_launcher,
        devices=devices,
    shell:
        "{params.launch} {input.program:q} --model {params.model:q} --dialogues {input.dialogues:q}"
        " --template {params.template:q} --top-k {params.top_k}"
        " --token-budget {params.token_budget} --dtype {params.dtype} --device {params.device}"
        " --devices {params.devices} --threads {threads} --output {output.store:q}"
        " --report {output.report:q} > {log:q} 2>&1"
