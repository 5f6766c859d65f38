"""Token and distribution alignment: a source's distributions in the pivot's vocabulary.

In: logits/{pivot}/{shard}.parquet, logits/{source}/{shard}.parquet and both tokenizers.
Out: spans/{source}/{shard}.parquet, vocabulary/{source}.parquet, aligned/{source}/{shard}.parquet,
and alignment/{source}.md, without which no target is taught by the source.
Sources with the pivot's tokenizer pass through. `variant` is empty, or @target for a target that
aligns its sources in its own way; .sample aligns a few dialogues for `worth`. Variants of the
mixture share the vocabulary map of the run's mixture.
"""


rule align_tokens:
    """Align the response tokens of pivot and source, and count the aligned pairs."""
    input:
        program=program("align_tokens"),
        pivot=PIVOT_MANIFEST,
        source="<results>/models/{source}/manifest.json",
        pivot_logits=f"{RESULTS}/logits/{PIVOT}/{{shard}}.parquet",
        source_logits="<results>/logits/{source}/{shard}.parquet",
    output:
        spans="<results>/spans/{source}{variant}/{shard}.parquet",
    log:
        "<logs>/align_tokens/{source}{variant}/{shard}.log",
    benchmark:
        "<benchmarks>/align_tokens/{source}{variant}/{shard}.tsv"
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        group_load=12,
        mem_mb=memory(4_000, 32_000),
        runtime=minutes(60, 960),
    params:
        code=code("align_tokens"),
        pivot=subpath(input.pivot, parent=True),
        source=subpath(input.source, parent=True),
        method=lambda w: experiment.alignment(w.variant)["method"],
        max_changed=lookup(dpath="alignment/max_changed", within=config),
    shell:
        "python {input.program:q} --pivot-logits {input.pivot_logits:q}"
        " --source-logits {input.source_logits:q} --pivot-model {params.pivot:q}"
        " --source-model {params.source:q} --method {params.method}"
        " --max-changed {params.max_changed} --threads {threads}"
        " --output {output.spans:q} > {log:q} 2>&1"


rule map_vocabulary:
    """Map each token of the source to a token of the pivot."""
    input:
        program=program("map_vocabulary"),
        pivot=PIVOT_MANIFEST,
        source="<results>/models/{source}/manifest.json",
        spans=aligned("spans/{w.source}{w.variant}"),
    output:
        vocabulary="<results>/vocabulary/{source}{variant}.parquet",
    log:
        "<logs>/map_vocabulary/{source}{variant}.log",
    benchmark:
        "<benchmarks>/map_vocabulary/{source}{variant}.tsv"
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=memory(8_000, 64_000),
        runtime=minutes(60, 480),
    params:
        code=code("map_vocabulary"),
        pivot=subpath(input.pivot, parent=True),
        source=subpath(input.source, parent=True),
        strategy=lambda w: experiment.alignment(w.variant)["vocabulary"],
    shell:
        "python {input.program:q} --spans {input.spans:q} --pivot-model {params.pivot:q}"
        " --source-model {params.source:q} --strategy {params.strategy} --threads {threads}"
        " --output {output.vocabulary:q} > {log:q} 2>&1"


rule transfer_logits:
    """Carry the source's distributions over to the pivot's tokens and vocabulary."""
    input:
        program=program("transfer_logits"),
        pivot=PIVOT_MANIFEST,
        source="<results>/models/{source}/manifest.json",
        pivot_logits=f"{RESULTS}/logits/{PIVOT}/{{shard}}.parquet",
        source_logits="<results>/logits/{source}/{shard}.parquet",
        spans="<results>/spans/{source}{variant}/{shard}.parquet",
        vocabulary="<results>/vocabulary/{source}{variant}.parquet",
    output:
        store="<results>/aligned/{source}{variant}/{shard}.parquet",
    log:
        "<logs>/transfer_logits/{source}{variant}/{shard}.log",
    benchmark:
        "<benchmarks>/transfer_logits/{source}{variant}/{shard}.tsv"
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        group_load=12,
        mem_mb=memory(4_000, 32_000),
        runtime=minutes(60, 480),
    params:
        code=code("transfer_logits"),
        pivot=subpath(input.pivot, parent=True),
        source=subpath(input.source, parent=True),
        rules=lambda w: experiment.alignment(w.variant)["transfer"],
    shell:
        "python {input.program:q} --pivot-logits {input.pivot_logits:q}"
        " --source-logits {input.source_logits:q} --spans {input.spans:q}"
        " --vocabulary {input.vocabulary:q} --pivot-model {params.pivot:q}"
        " --source-model {params.source:q} --rules {params.rules} --threads {threads}"
        " --output {output.store:q} > {log:q} 2>&1"


rule report_alignment:
    """Say how well a source was aligned; stop when too little probability was kept."""
    input:
        program=program("report_alignment"),
        pivot=PIVOT_MANIFEST,
        source="<results>/models/{source}/manifest.json",
        pivot_logits=aligned(f"logits/{PIVOT}"),
        source_logits=aligned("logits/{w.source}"),
        spans=aligned("spans/{w.source}{w.variant}"),
        aligned=aligned("aligned/{w.source}{w.variant}"),
        dialogues=aligned("dialogues"),
        vocabulary="<results>/vocabulary/{source}{variant}.parquet",
    output:
        markdown="<results>/alignment/{source}{variant}.md",
        json="<results>/alignment/{source}{variant}.json",
        figure="<results>/figures/alignment/{source}{variant}.svg",
    log:
        "<logs>/report_alignment/{source}{variant}.log",
    benchmark:
        "<benchmarks>/report_alignment/{source}{variant}.tsv"
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=memory(4_000, 32_000),
        runtime=minutes(60, 480),
    params:
        code=code("report_alignment"),
        pivot=subpath(input.pivot, parent=True),
        source=subpath(input.source, parent=True),
        min_mass=lambda w: 0 if w.variant == SAMPLE else config["alignment"]["min_mass"],
    shell:
        "python {input.program:q} --aligned {input.aligned:q} --spans {input.spans:q}"
        " --pivot-logits {input.pivot_logits:q} --source-logits {input.source_logits:q}"
        " --dialogues {input.dialogues:q} --vocabulary {input.vocabulary:q}"
        " --pivot-model {params.pivot:q} --source-model {params.source:q}"
        " --min-mass {params.min_mass} --output {output.markdown:q} --json {output.json:q}"
        " --figure {output.figure:q} > {log:q} 2>&1"
