"""The scale model: a generated chat world, and source models trained on it from scratch.

In: the config's `data.world` and `models.*.pretrain`. Out: world/ (questions, text), mixtures/,
pretraining/{model}.json and models/{model}/, whose manifest.json is written last.
"""

MIXTURE = ("seed", "mixture", "wrong_answers", "dialogues")  # of the world, or of its variant
DIALOGUES = ("dialogues", "strong", "strong_share")  # of a model's pretraining


rule make_world:
    """Generate the scale model's benchmark questions and tokenizer text."""
    input:
        program=program("make_world"),
    output:
        manifest="<results>/world/manifest.json",
        questions="<results>/world/questions.jsonl",
        text="<results>/world/text.txt",
    log:
        "<logs>/make_world.log",
    benchmark:
        "<benchmarks>/make_world.tsv"
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        code=code("make_world"),
        folder=subpath(output.manifest, parent=True),
        seed=lookup(dpath="data/world/seed", within=config, default=None),
        questions=lookup(dpath="data/world/questions", within=config, default=None),
    shell:
        "python {input.program:q} --seed {params.seed} --questions {params.questions}"
        " --output {params.folder:q} > {log:q} 2>&1"


rule make_mixture:
    """Generate a fine-tuning mixture; no source model is trained on it."""
    input:
        program=program("make_mixture"),
    output:
        mixture="<results>/mixtures/{mixture}mixture.json",
    log:
        "<logs>/{mixture}make_mixture.log",
    benchmark:
        "<benchmarks>/{mixture}make_mixture.tsv"
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        code=code("make_mixture"),
        heldout=lookup(dpath="data/heldout", within=config),
        settings=lambda w: options(experiment.mixtures[w.mixture], *MIXTURE),
    shell:
        "python {input.program:q} --heldout {params.heldout} {params.settings:q}"
        " --output {output.mixture:q} > {log:q} 2>&1"


rule make_pretraining:
    """Generate the dialogues that one source model is trained on from scratch."""
    input:
        program=program("make_pretraining"),
    output:
        dialogues="<results>/pretraining/{model}.json",
    log:
        "<logs>/make_pretraining/{model}.log",
    benchmark:
        "<benchmarks>/make_pretraining/{model}.tsv"
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        code=code("make_pretraining"),
        seed=lookup(dpath="data/world/seed", within=config, default=None),
        pretrain=lookup(dpath="models/{model}/pretrain", within=config),
    shell:
        "python {input.program:q} --seed {params.seed} --name {wildcards.model:q}"
        " --dialogues {params.pretrain[dialogues]} --strong {params.pretrain[strong]:q}"
        " --strong-share {params.pretrain[strong_share]} --output {output.dialogues:q}"
        " > {log:q} 2>&1"


rule pretrain_source:
    """Train one source model of the scale model from scratch."""
    input:
        program=program("pretrain_source"),
        dialogues="<results>/pretraining/{model}.json",
        text="<results>/world/text.txt",
        template=experiment.rendering_files({"template": config["template"]}),
    output:
        manifest="<results>/models/{model}/manifest.json",
    log:
        "<logs>/pretrain_source/{model}.log",
    benchmark:
        "<benchmarks>/pretrain_source/{model}.tsv"
    wildcard_constraints:
        model=any_of(n for n, m in config["models"].items() if "pretrain" in m),
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=pretraining_memory,
        runtime=pretraining_time,
    params:
        code=code("pretrain_source"),
        folder=subpath(output.manifest, parent=True),
        template=lookup(dpath="template", within=config),
        settings=lambda w: options(config["models"][w.model]["pretrain"], skip=(*DIALOGUES, "full")),
    shell:
        "python {input.program:q} --dialogues {input.dialogues:q} --text {input.text:q}"
        " --template {params.template:q} {params.settings:q}"
        " --threads {threads} --output {params.folder:q} > {log:q} 2>&1"
