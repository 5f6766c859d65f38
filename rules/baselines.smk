"""The merges that VaRM is compared with: Linear, SLERP, TA, TIES, DARE and SCE.

In: the pivot and the targets. Out: merged/{merge}/. Linear and SCE stream like VaRM; the others
are mergekit's, in float32, with the configuration that was run kept beside the model.
"""


use rule merge_varm as merge_linear with:
    """Average the targets with fixed weights."""
    input:
        program=program("merge_linear"),
        pivot=PIVOT_MANIFEST,
        targets=lambda w: experiment.merge_inputs(w.merge),
    output:
        manifest="<results>/merged/{merge}/manifest.json",
    log:
        "<logs>/merge_linear/{merge}.log",
    benchmark:
        "<benchmarks>/merge_linear/{merge}.tsv"
    wildcard_constraints:
        merge=any_of(experiment.merged_by("linear")),
    params:
        code=code("merge_linear"),
        weights=lambda w: flags(
            "--weight",
            [f"{n}={weight}" for n, weight in experiment.merges[w.merge].targets.items()],
        ),
        settings=lambda w: options(experiment.merges[w.merge].settings, "dtype", "allow_equal"),


use rule merge_linear as merge_mergekit with:
    """Merge targets with mergekit: SLERP, TA, TIES, DARE or its SCE, in float32."""
    input:
        program=program("merge_mergekit"),
        pivot=PIVOT_MANIFEST,
        targets=lambda w: experiment.merge_inputs(w.merge),
    log:
        "<logs>/merge_mergekit/{merge}.log",
    benchmark:
        "<benchmarks>/merge_mergekit/{merge}.tsv"
    wildcard_constraints:
        merge=any_of(
            experiment.merged_by("slerp", "task_arithmetic", "ties", "dare_linear", "sce_mergekit")
        ),
    resources:
        mem_mb=memory(32_000, 256_000),
        runtime=minutes(120, 960),
    params:
        code=code("merge_mergekit"),
        settings=lambda w: options(
            experiment.merges[w.merge].settings,
            *("method", "density", "select_topk", "seed", "base", "dtype", "allow_equal"),
        ),


use rule merge_linear as merge_sce with:
    """Merge targets by select, calculate, erase (the successor paper, 2408.07990)."""
    input:
        program=program("merge_sce"),
        pivot=PIVOT_MANIFEST,
        targets=lambda w: experiment.merge_inputs(w.merge),
    log:
        "<logs>/merge_sce/{merge}.log",
    benchmark:
        "<benchmarks>/merge_sce/{merge}.tsv"
    wildcard_constraints:
        merge=any_of(experiment.merged_by("sce")),
    params:
        code=code("merge_sce"),
        weights=[],
        settings=lambda w: options(
            experiment.merges[w.merge].settings, "select_topk", "dtype", "allow_equal"
        ),
