"""Distribution matrices of every source LLM (section 3.2): top-k logits of response positions.

In: models/{model}/, dialogues/{shard}.parquet. Out: logits/{model}/{shard}.parquet, and beside it
a report of the dialogues that the model could not score. The matrices that the authors released stand
in for the dump of a model whose `logits` the config names.
"""


rule dump_logits:
    """Store the top-k log-probabilities of one model on one shard."""
    input:
        program=program("dump_logits"),
        model="<results>/models/{model}/manifest.json",
        dialogues="<results>/dialogues/{shard}.parquet",
        template=lambda w: experiment.rendering_files(experiment.rendering(w.model)),
        pivot=lambda w: experiment.step_files(w.model),
    output:
        store="<results>/logits/{model}/{shard}.parquet",
        report="<results>/logits/{model}/{shard}.json",
    log:
        "<logs>/dump_logits/{model}/{shard}.log",
    benchmark:
        "<benchmarks>/dump_logits/{model}/{shard}.tsv"
    wildcard_constraints:
        model=any_of(name for name in experiment.rated if name not in experiment.imported),
    group:
        "dump_{model}" if len(SHARDS) > 8 else None
    conda:
        "../envs/models.yaml"
    threads: model_threads
    resources:
        gpu=model_gpus,
        nodes=1,
        group_load=100,
        mem_mb=memory(64_000, 480_000),
        runtime=minutes(each_shard(1_920), 2_880),
    params:
        code=code("dump_logits"),
        model=subpath(input.model, parent=True),
        rendering=lambda w: options(experiment.rendering(w.model)),
        top_k=lookup(dpath="logits/top_k", within=config),
        steps=lambda w: options(experiment.step_options(w.model)),
        token_budget=lookup(dpath="logits/token_budget", within=config),
        dtype=lookup(dpath="logits/dtype", within=config),
        device=lookup(dpath="device", within=config),
        launch=forward_launcher,
        devices=devices,
    shell:
        "{params.launch} {input.program:q} --model {params.model:q} --dialogues {input.dialogues:q}"
        " {params.rendering:q} --top-k {params.top_k} {params.steps:q}"
        " --token-budget {params.token_budget} --dtype {params.dtype} --device {params.device}"
        " --devices {params.devices} --threads {threads} --output {output.store:q}"
        " --report {output.report:q} > {log:q} 2>&1"


rule import_logits:
    """Take one model's top-k log-probabilities on all shards from a released dump."""
    input:
        program=program("import_logits"),
        released=lookup(dpath="models/{model}/logits", within=config),
        model="<results>/models/{model}/manifest.json",
        dialogues=collect("<results>/dialogues/{shard}.parquet", shard=SHARDS),
        template=lambda w: experiment.rendering_files(experiment.rendering(w.model)),
    output:
        stores=collect("<results>/logits/{{model}}/{shard}.parquet", shard=SHARDS),
        reports=collect("<results>/logits/{{model}}/{shard}.json", shard=SHARDS),
    log:
        "<logs>/import_logits/{model}.log",
    benchmark:
        "<benchmarks>/import_logits/{model}.tsv"
    wildcard_constraints:
        model=any_of(experiment.imported),
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=memory(8_000, 64_000),
        runtime=minutes(120, 960),
    params:
        code=code("import_logits"),
        model=subpath(input.model, parent=True),
        rendering=lambda w: options(experiment.rendering(w.model)),
        top_k=lookup(dpath="logits/top_k", within=config),
        output=subpath(output[0], parent=True),
    shell:
        "python {input.program:q} --released {input.released:q} --model {params.model:q}"
        " --dialogues {input.dialogues:q} {params.rendering:q} --top-k {params.top_k}"
        " --threads {threads} --output {params.output:q} > {log:q} 2>&1"
