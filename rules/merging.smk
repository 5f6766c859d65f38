"""Merging in weight space by variation ratio (VaRM, equations 6 and 7).

In: the pivot and the targets. Out: variation/{target}.parquet, merged/{merge}/ with the weights
of every unit beside the model.
"""


rule measure_variation:
    """Mean squared change of each parameter matrix of a target against the pivot."""
    input:
        program=program("measure_variation"),
        pivot=PIVOT_MANIFEST,
        target="<results>/targets/{target}/manifest.json",
    output:
        table="<results>/variation/{target}.parquet",
    log:
        "<logs>/measure_variation/{target}.log",
    benchmark:
        "<benchmarks>/measure_variation/{target}.tsv"
    conda:
        "../envs/merging.yaml"
    threads: 1
    resources:
        mem_mb=memory(8_000, 64_000),
        runtime=minutes(30, 240),
    params:
        code=code("measure_variation"),
        pivot=subpath(input.pivot, parent=True),
        target=subpath(input.target, parent=True),
    shell:
        "python {input.program:q} --pivot {params.pivot:q} --target {params.target:q}"
        " --threads {threads} --output {output.table:q} > {log:q} 2>&1"


rule merge_varm:
    """Merge targets by variation ratio (VaRM, equation 7)."""
    input:
        program=program("merge_varm"),
        pivot=PIVOT_MANIFEST,
        targets=lambda w: experiment.merge_inputs(w.merge),
        variations=lambda w: collect(
            "<results>/variation/{target}.parquet", target=experiment.merges[w.merge].targets
        ),
    output:
        manifest="<results>/merged/{merge}/manifest.json",
        weights="<results>/merged/{merge}/weights.csv",
    log:
        "<logs>/merge_varm/{merge}.log",
    benchmark:
        "<benchmarks>/merge_varm/{merge}.tsv"
    wildcard_constraints:
        merge=any_of(experiment.merged_by("varm")),
    conda:
        "../envs/merging.yaml"
    threads: 1
    resources:
        mem_mb=memory(16_000, 128_000),
        runtime=minutes(60, 480),
    params:
        code=code("merge_varm"),
        pivot=subpath(input.pivot, parent=True),
        output=subpath(output.manifest, parent=True),
        targets=lambda w, input: flags(
            "--target", pairs(experiment.merges[w.merge].targets, folders(input.targets))
        ),
        weights=lambda w, input: flags(
            "--variation", pairs(experiment.merges[w.merge].targets, input.variations)
        ),
        settings=lambda w: options(
            experiment.merges[w.merge].settings,
            "granularity",
            "change",
            "normalise",
            "dtype",
            "allow_equal",
        ),
    shell:
        "python {input.program:q} --pivot {params.pivot:q} {params.targets:q} {params.weights:q}"
        " {params.settings:q} --threads {threads} --output {params.output:q} > {log:q} 2>&1"


rule compare_released:
    """Which model a released merged checkpoint is: the formula's, a plain mean, a target?"""
    input:
        program=program("compare_released"),
        pivot=PIVOT_MANIFEST,
        released="<results>/merged/{merge}/manifest.json",
        targets=lambda w: experiment.merge_inputs(w.merge),
        candidates=[experiment.manifest(name) for name in experiment.merged],
    output:
        csv="<results>/released/{merge}.csv",
        md="<results>/released/{merge}.md",
        tex="<results>/released/{merge}.tex",
        html="<results>/released/{merge}.html",
        tensors="<results>/released/{merge}_tensors.csv",
    log:
        "<logs>/compare_released/{merge}.log",
    benchmark:
        "<benchmarks>/compare_released/{merge}.tsv"
    wildcard_constraints:
        merge=any_of(name for name in experiment.merges if name in experiment.released),
    conda:
        "../envs/merging.yaml"
    threads: 1
    resources:
        mem_mb=memory(32_000, 128_000),
        runtime=minutes(120, 480),
    params:
        code=code("compare_released"),
        pivot=subpath(input.pivot, parent=True),
        released=subpath(input.released, parent=True),
        targets=lambda w, input: flags(
            "--target", pairs(experiment.merges[w.merge].targets, folders(input.targets))
        ),
        candidates=lambda w, input: flags(
            "--candidate", pairs(experiment.merged, folders(input.candidates))
        ),
        output=subpath(output.csv, strip_suffix=".csv"),
    shell:
        "python {input.program:q} --released {wildcards.merge:q}={params.released:q}"
        " --pivot {params.pivot:q} {params.targets:q} {params.candidates:q}"
        " --threads {threads} --output {params.output:q} > {log:q} 2>&1"
