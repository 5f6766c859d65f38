"""Figures of the stages before the benchmark, and of their costs, one program each.

In: logits, aligned and fused shards, losses, benchmark files. Out: figures/{name}.svg and .png.
"""

from fusionchat.command_words import shards_of

TEACHING = [experiment.training_data(target) for target in experiment.taught]
FIRST_SEEDS = [name for name in experiment.trained if experiment.targets[name].base == name]


use rule figure_scores as figure_alignment with:
    """How the tokens of each source align, and how much probability arrives."""
    input:
        program=program("figure_alignment"),
        possible=possible("alignment"),
        aligned=collect("<results>/aligned/{source}/{shard}.parquet", source=SOURCES, shard=SHARDS),
    output:
        svg=figure("alignment"),
        png="<results>/figures/alignment.png",
        csv="<results>/figures/alignment.csv",
    log:
        "<logs>/figure_alignment.log",
    benchmark:
        "<benchmarks>/figure_alignment.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=memory(4_000, 32_000),
        runtime=minutes(30, 240),
    params:
        code=code("figure_alignment"),
        details=["--aligned", *shards_of(experiment, "aligned", SOURCES)],


use rule figure_scores as figure_cross_entropy with:
    """Cross-entropy of each dialogue under the pivot and under each source."""
    input:
        program=program("figure_cross_entropy"),
        possible=possible("cross_entropy"),
        stores=collect(
            "<results>/logits/{model}/{shard}.parquet", model=experiment.source_llms, shard=SHARDS
        ),
    output:
        svg=figure("cross_entropy"),
        png="<results>/figures/cross_entropy.png",
    log:
        "<logs>/figure_cross_entropy.log",
    benchmark:
        "<benchmarks>/figure_cross_entropy.tsv"
    params:
        code=code("figure_cross_entropy"),
        details=[
            *("--pivot", *shards_of(experiment, "logits", [PIVOT])),
            *("--source", *shards_of(experiment, "logits", SOURCES)),
        ],


use rule figure_scores as figure_winners with:
    """Share of dialogues that each model teaches, by target and category."""
    input:
        program=program("figure_winners"),
        possible=possible("winners"),
        fused=TEACHING,
        dialogues=collect(
            "<results>/dialogues/{mixture}{shard}.parquet",
            mixture={experiment.targets[name].mixture: 0 for name in experiment.taught},
            shard=SHARDS,
        ),
    output:
        svg=figure("winners"),
        png="<results>/figures/winners.png",
        csv="<results>/figures/winners.csv",
    log:
        "<logs>/figure_winners.log",
    benchmark:
        "<benchmarks>/figure_winners.tsv"
    params:
        code=code("figure_winners"),
        details=lambda w, input: [
            *("--fused", *pairs(experiment.taught, map(",".join, TEACHING))),
            *("--dialogues", *input.dialogues),
        ],


use rule figure_scores as figure_losses with:
    """Training loss of each target, of its first seed."""
    input:
        program=program("figure_losses"),
        possible=possible("losses"),
        losses=collect("<results>/targets/{target}/loss.csv", target=FIRST_SEEDS),
    output:
        svg=figure("losses"),
        png="<results>/figures/losses.png",
    log:
        "<logs>/figure_losses.log",
    benchmark:
        "<benchmarks>/figure_losses.tsv"
    params:
        code=code("figure_losses"),
        details=lambda w, input: ["--loss", *pairs(FIRST_SEEDS, input.losses)],


use rule figure_scores as figure_costs with:
    """Time and memory of each stage, from the benchmark files of the jobs."""
    input:
        program=program("figure_costs"),
        scores="<results>/mt_bench/scores.parquet",
    output:
        svg=figure("costs"),
        png="<results>/figures/costs.png",
        csv="<results>/figures/costs.csv",
    log:
        "<logs>/figure_costs.log",
    benchmark:
        "<benchmarks>/figure_costs.tsv"
    params:
        code=code("figure_costs"),
        rows=[],
        details=["--benchmarks", f"{RESULTS}/benchmarks"],
