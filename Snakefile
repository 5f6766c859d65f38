"""FusionChat: pairwise fusion of chat LLMs, then merging in weight space (arXiv 2402.16107)."""

from snakemake.utils import min_version

min_version("9.20")


include: "rules/common.smk"
include: "rules/profile.smk"
include: "rules/resources.smk"


pathvars:
    results=RESULTS,
    logs=f"{RESULTS}/logs",
    benchmarks=f"{RESULTS}/benchmarks",


include: "rules/config.smk"
include: "rules/models.smk"
include: "rules/world.smk"
include: "rules/dialogues.smk"
include: "rules/logits.smk"
include: "rules/alignment.smk"
include: "rules/worth.smk"
include: "rules/fusion.smk"
include: "rules/training.smk"
include: "rules/merging.smk"
include: "rules/baselines.smk"
include: "rules/mt_bench.smk"
include: "rules/comparisons.smk"
include: "rules/judging.smk"
include: "rules/pairwise.smk"
include: "rules/alpaca_eval.smk"
include: "rules/tables.smk"
include: "rules/leaderboard.smk"
include: "rules/figures.smk"
include: "rules/maps.smk"
include: "rules/stage_figures.smk"
include: "rules/studies.smk"
include: "rules/report.smk"
include: "rules/cluster.smk"
include: "rules/named_targets.smk"
include: "rules/local.smk"


# Jobs on this machine: what the bars in their logs say is shown here, too.
onstart:
    refuse_unedited()
    if workflow.local_exec:
        show_running_jobs(f"{RESULTS}/logs", logger.info)


# Tables, figures, sweeps, maps and everything that they need.
rule all:
    default_target: True
    input:
        rules.table1.input,
        rules.table2.input if experiment.main else [],
        rules.figures.input,
        rules.report.output,
        rules.agreement.output if experiment.raters > 1 else [],
        rules.leaderboard.output if experiment.ranked else [],
        rules.sweeps.input,
        rules.maps.input,
    localrule: True


refuse_unknown()
