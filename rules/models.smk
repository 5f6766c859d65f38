"""Source LLMs: fetched at a locked revision, or taken from a folder.

In: the config's `models` (world.smk trains those of the scale model from scratch).
Out: models/{model}/, a Hugging Face folder whose manifest.json is written last. Released
checkpoints of targets and merged models come the same way, in place of training or merging.
`snakemake check` looks for files of finished models that were lost, cut off or exchanged.
Whatever needs the network runs where snakemake runs, because compute nodes often have none.
"""


rule lock_models:
    """Resolve a name on the hub to a commit and checksums, once for the run."""
    input:
        program=program("lock_models"),
    output:
        lock="<results>/locks/{locked}.json",
    log:
        "<logs>/lock_models/{locked}.log",
    benchmark:
        "<benchmarks>/lock_models/{locked}.tsv"
    wildcard_constraints:
        locked=any_of(origins.lockable),
    retries: 2
    localrule: True
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=1_000,
        runtime=10,
    params:
        code=code("lock_models"),
        reference=lambda w: origins.reference(w.locked),
    shell:
        "python {input.program:q} {params.reference:q} --output {output.lock:q} > {log:q} 2>&1"


rule fetch_model:
    """Download a model at its locked commit, or take it from a local folder."""
    input:
        program=program("fetch_model"),
        origin=lambda w: origins.model(w.model),
    output:
        manifest="<results>/{kind}/{model}/manifest.json",
    log:
        "<logs>/fetch_model/{kind}/{model}.log",
    benchmark:
        "<benchmarks>/fetch_model/{kind}/{model}.tsv"
    wildcard_constraints:
        kind="models|targets|merged",
        model=any_of(origins.models),
    retries: 2
    localrule: True
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=8_000,
        runtime=480,
    params:
        code=code("fetch_model"),
        origin=lambda w, input: (
            ["--lock", input.origin, "--name", w.model]
            if w.model in origins.hub
            else ["--path", *folders([input.origin])]
        ),
        output=subpath(output.manifest, parent=True),
    shell:
        "python {input.program:q} {params.origin:q} --output {params.output:q} > {log:q} 2>&1"


rule check:
    """Whether every file of the finished models is still the one that was written."""
    input:
        program=program("check"),
    log:
        "<logs>/check.log",
    retries: 0
    localrule: True
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=1_000,
        runtime=10,
    params:
        code=code("check"),
        results=RESULTS,
    shell:
        "python {input.program:q} --results {params.results:q} 2>&1 | tee {log:q}"
