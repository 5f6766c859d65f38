"""The merges that VaRM is compared with: Linear, SLERP, TA, TIES, DARE and SCE.

In: the pivot and the targets. Out: merged/{merge}/. Linear and SCE stream like VaRM; the others
are mergekit's, in float32, with the configuration that was run kept beside the model.
"""


rule merge_linear:
    """Average the targets with fixed weights."""
    input:
        code=code("merge_linear"),
        program=program("merge_linear"),
        pivot=PIVOT_MANIFEST,
        targets=merged_targets,
    output:
        manifest="<results>/merged/{merge}/manifest.json",
    log:
        "<logs>/merge_linear/{merge}.log",
    benchmark:
        "<benchmarks>/merge_linear/{merge}.tsv"
    wildcard_constraints:
        merge=merges_by("linear"),
    conda:
        "../envs/merging.yaml"
    threads: 1
    resources:
        mem_mb=grows(16_000, 128_000),
        runtime=grows(60, 480),
    params:
        pivot=subpath(input.pivot, parent=True),
        output=subpath(output.manifest, parent=True),
        targets=target_folders,
        weights=target_weights,
        switches=merge_switches,
    shell:
        "python {input.program:q} --pivot {params.pivot:q} {params.targets:q} {params.weights:q}"
        " {params.switches:q} --threads {threads} --output {params.output:q} > {log:q} 2>&1"


rule merge_mergekit:
    """Merge targets with mergekit: SLERP, TA, TIES, DARE or its SCE, in float32."""
    input:
        code=code("merge_mergekit"),
        program=program("merge_mergekit"),
        pivot=PIVOT_MANIFEST,
        targets=merged_targets,
    output:
        manifest="<results>/merged/{merge}/manifest.json",
    log:
        "<logs>/merge_mergekit/{merge}.log",
    benchmark:
        "<benchmarks>/merge_mergekit/{merge}.tsv"
    wildcard_constraints:
        merge=merges_by("slerp", "task_arithmetic", "ties", "dare_linear", "sce_mergekit"),
    conda:
        "../envs/merging.yaml"
    threads: 1
    resources:
        mem_mb=grows(32_000, 256_000),
        runtime=grows(120, 960),
    params:
        pivot=subpath(input.pivot, parent=True),
        output=subpath(output.manifest, parent=True),
        targets=target_folders,
        weights=target_weights,
        method=merge_option("method"),
        density=merge_option("density"),
        select_topk=merge_option("select_topk"),
        seed=merge_option("seed"),
        switches=merge_switches,
    shell:
        "python {input.program:q} --method {params.method} --pivot {params.pivot:q}"
        " {params.targets:q} {params.weights:q} --density {params.density}"
        " --select-topk {params.select_topk} --seed {params.seed} {params.switches:q}"
        " --threads {threads} --output {params.output:q} > {log:q} 2>&1"


rule merge_sce:
    """Merge targets by select, calculate, erase (the successor paper, 2408.07990)."""
    input:
        code=code("merge_sce"),
        program=program("merge_sce"),
        pivot=PIVOT_MANIFEST,
        targets=merged_targets,
    output:
        manifest="<results>/merged/{merge}/manifest.json",
    log:
        "<logs>/merge_sce/{merge}.log",
    benchmark:
        "<benchmarks>/merge_sce/{merge}.tsv"
    wildcard_constraints:
        merge=merges_by("sce"),
    conda:
        "../envs/merging.yaml"
    threads: 1
    resources:
        mem_mb=grows(16_000, 128_000),
        runtime=grows(60, 480),
    params:
        pivot=subpath(input.pivot, parent=True),
        output=subpath(output.manifest, parent=True),
        targets=target_folders,
        select_topk=merge_option("select_topk"),
        switches=merge_switches,
    shell:
        "python {input.program:q} --pivot {params.pivot:q} {params.targets:q}"
        " --select-topk {params.select_topk} {params.switches:q} --threads {threads}"
        " --output {params.output:q} > {log:q} 2>&1"
