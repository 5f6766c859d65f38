"""Names to type: `snakemake table1` and the like; each makes only what is missing.

The tables also ask for the models that they describe: Snakemake makes a missing file again only
where the target itself names it.
"""


rule fetched:
    """Everything that needs the network, for machines whose compute nodes have none."""
    input:
        [experiment.manifest(name) for name in origins.models],
        [origins.mixture()] if "repo" in config["data"] and experiment.trained else [],
        rules.fetch_questions.output if origins.asks else [],
        collect("<results>/mt_bench/published/{model}.jsonl", model=origins.answers),
        [origins.task_manifest(name) for name in origins.task_data],
        rules.fetch_alpaca.output if experiment.alpaca_eval else [],
    localrule: True


rule logits:
    """Top-k logits of every source LLM."""
    input:
        collect(
            "<results>/logits/{model}/{shard}.parquet", model=experiment.source_llms, shard=SHARDS
        ),
    localrule: True


rule aligned:
    """Distributions of every source in the pivot's vocabulary."""
    input:
        collect("<results>/aligned/{source}/{shard}.parquet", source=SOURCES, shard=SHARDS),
    localrule: True


rule targets:
    """The fine-tuned targets."""
    input:
        collect("<results>/targets/{target}/manifest.json", target=experiment.targets),
    localrule: True


rule merges:
    """The merged models."""
    input:
        collect("<results>/merged/{merge}/manifest.json", merge=experiment.merges),
    localrule: True


rule released:
    """What the released merged checkpoints are."""
    input:
        collect(
            "<results>/released/{merge}.csv",
            merge=[name for name in experiment.merges if name in experiment.released],
        ),
    localrule: True


rule sweeps:
    """A table and a figure of each sweep."""
    input:
        collect(
            "<results>/sweeps/{sweep}.{format}",
            sweep=config["sweeps"],
            format=["csv", "svg", "png"],
        ),
    localrule: True


rule maps:
    """A table and a figure of each map."""
    input:
        collect("<results>/maps/{map}.{format}", map=config["maps"], format=["csv", "svg", "png"]),
    localrule: True


rule answers:
    """Answers of every model to the benchmark's questions."""
    input:
        collect("<results>/mt_bench/answers/{model}.jsonl", model=experiment.rated),
    localrule: True


rule judgments:
    """Judgments of every answer by every judge."""
    input:
        rules.score.input.judgments,
    localrule: True


rule calibration:
    """How far each LLM judge agrees with people."""
    input:
        collect("<results>/tables/calibration/{judge}.csv", judge=experiment.llm_judges),
    localrule: True


rule table1:
    """Table 1, and every model in it."""
    input:
        rules.write_table1.output,
        [experiment.manifest(name) for name in experiment.answering],
    localrule: True


rule table2:
    """Table 2, and the merged models in it."""
    input:
        rules.write_table2.output,
        [experiment.manifest(name) for name in experiment.granularities],
    localrule: True


rule figures:
    """All figures."""
    input:
        collect("<results>/figures/{name}.{format}", name=experiment.figures, format=["svg", "png"]),
        rules.claims.output.svg if experiment.claimed else [],
    localrule: True
