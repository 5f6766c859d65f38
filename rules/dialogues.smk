"""The fine-tuning set: checked, split to the maximum length, divided into shards.

In: a file of dialogues in one of the usual formats; the pivot's tokenizer measures length.
Out: dialogues/{shard}.parquet, and dialogues/heldout.parquet which no model is trained on;
dialogues/report.json says what was malformed, split or left out. `mixture` is empty, or NAME- for a
variant of the generated mixture: from here on its shards, called NAME-{shard}, go beside the others.
"""

from fusionchat.origins import DATA_SET


rule fetch_data:
    """Download the data set's file at its locked commit."""
    input:
        program=program("fetch_data"),
        lock=origins.lock(DATA_SET),
    output:
        f"<results>/data/{origins.data_file}",
    log:
        "<logs>/fetch_data.log",
    benchmark:
        "<benchmarks>/fetch_data.tsv"
    retries: 2
    localrule: True
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=60,
    params:
        code=code("fetch_data"),
        name=DATA_SET,
    shell:
        "python {input.program:q} --lock {input.lock:q} --name {params.name}"
        " --output {output:q} > {log:q} 2>&1"


rule prepare_dialogues:
    """Validate the dialogues, split long ones at turns, keep some apart."""
    input:
        program=program("prepare_dialogues"),
        mixture=lambda w: origins.mixture(w.mixture),
        pivot=PIVOT_MANIFEST,
        exclude=config["data"].get("exclude", []),
        template=experiment.rendering_files(experiment.rendering(PIVOT)),
    output:
        dialogues="<results>/dialogues/{mixture}dialogues.parquet",
        heldout="<results>/dialogues/{mixture}heldout.parquet",
        report="<results>/dialogues/{mixture}report.json",
    log:
        "<logs>/{mixture}prepare_dialogues.log",
    benchmark:
        "<benchmarks>/{mixture}prepare_dialogues.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=memory(8_000, 64_000),
        runtime=minutes(60, 480),
    params:
        code=code("prepare_dialogues"),
        pivot=subpath(input.pivot, parent=True),
        rendering=options(experiment.rendering(PIVOT)),
        max_length=lookup(dpath="data/max_length", within=config),
        heldout=lookup(dpath="data/heldout", within=config),
        on_error=lookup(dpath="data/on_error", within=config),
        limit=lambda w: options(experiment.limit(w.mixture)),
        exclude=options(config["data"], "exclude"),
    shell:
        "python {input.program:q} --mixture {input.mixture:q} --pivot-model {params.pivot:q}"
        " {params.rendering:q} --max-length {params.max_length}"
        " --heldout {params.heldout} --on-error {params.on_error} {params.limit:q}"
        " {params.exclude:q}"
        " --output {output.dialogues:q} --heldout-output {output.heldout:q}"
        " --report {output.report:q} > {log:q} 2>&1"


rule shard_dialogues:
    """Divide the dialogues into shards that later steps work on side by side."""
    input:
        program=program("shard_dialogues"),
        dialogues="<results>/dialogues/{mixture}dialogues.parquet",
    output:
        shards=collect("<results>/dialogues/{{mixture}}{shard}.parquet", shard=SHARDS),
    log:
        "<logs>/{mixture}shard_dialogues.log",
    benchmark:
        "<benchmarks>/{mixture}shard_dialogues.tsv"
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=memory(8_000, 64_000),
        runtime=30,
    params:
        code=code("shard_dialogues"),
    shell:
        "python {input.program:q} --dialogues {input.dialogues:q} --output {output.shards:q}"
        " > {log:q} 2>&1"
