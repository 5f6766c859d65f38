"""What the configurations for large runs plan, job by job, from a fresh clone without network."""

import csv
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml
from micro_project import ROOT, copy_project, job_counts, planned_command

from fusionchat.cluster.plan import Plan
from fusionchat.config import checked
from fusionchat.experiment import Experiment
from fusionchat.scores.paper import read_paper
from fusionchat.scores.rows import row_argument

REPORT = {
    "write_config": 1,
    "claims": 1,
    "score": 1,
    "agreement": 1,
    "figure_costs": 1,
    "report": 1,
    "write_table1": 1,
    "write_table2": 1,
    "figure_scores": 1,
    "figure_radar": 1,
    "figure1": 1,
    "figure_weights": 1,
}
TRAINING_FIGURES = {
    "figure_losses": 1,
    "figure_winners": 1,
    "figure_cross_entropy": 1,
    "figure_alignment": 1,
}
PAPER = {
    "lock_models": 4 + 6,
    "fetch_model": 3 + 3,
    "fetch_answers": 3,
    "fetch_data": 1,
    "fetch_questions": 1,
    "prepare_dialogues": 1,
    "shard_dialogues": 1,
    "dump_logits": 3 * 4,
    "align_tokens": 2 * 4,
    "map_vocabulary": 2,
    "transfer_logits": 2 * 4,
    "report_alignment": 2,
    "fuse_distributions": 3 * 4,
    "train_target": 4,
    "measure_variation": 2,
    "merge_linear": 1,
    "merge_mergekit": 4,
    "merge_varm": 4,
    "answer": 16 + 3,
    "answer_elsewhere": 3,
    "judge": 16 + 6,
    **REPORT,
    **TRAINING_FIGURES,
}
RELEASED = {
    "lock_models": 8 + 6,
    "fetch_model": 8,
    "fetch_dataset": 6,
    "evaluate_tasks": 9,
    "leaderboard": 1,
    "fetch_questions": 1,
    "measure_variation": 2,
    "merge_linear": 2,
    "merge_mergekit": 4,
    "merge_varm": 4,
    "answer": 18,
    "judge": 18,
    **REPORT,
}
SIX_SOURCES = {
    "lock_models": 7,
    "fetch_model": 6,
    "fetch_data": 1,
    "fetch_questions": 1,
    "prepare_dialogues": 1,
    "shard_dialogues": 1,
    "dump_logits": 6 * 8,
    "align_tokens": 5 * 8,
    "map_vocabulary": 5,
    "transfer_logits": 5 * 8,
    "report_alignment": 5,
    "fuse_distributions": 6 * 8,
    "train_target": 7,
    "measure_variation": 5,
    "merge_sce": 1,
    "merge_linear": 1,
    "merge_mergekit": 3,
    "merge_varm": 1,
    "answer": 19,
    "judge": 19,
    "fetch_alpaca": 1,
    "answer_alpaca": 19,
    "judge_alpaca": 1,
    "alpaca_eval": 1,
    **REPORT,
    **TRAINING_FIGURES,
}
SMALL = {
    "lock_models": 4,
    "fetch_model": 3,
    "fetch_data": 1,
    "fetch_questions": 1,
    "prepare_dialogues": 1,
    "shard_dialogues": 1,
    "dump_logits": 3,
    "align_tokens": 2,
    "map_vocabulary": 2,
    "transfer_logits": 2,
    "report_alignment": 2,
    "fuse_distributions": 3,
    "train_target": 4,
    "measure_variation": 2,
    "merge_linear": 1,
    "merge_varm": 1,
    "answer": 9,
    "measure_nll": 9,
    "judge": 9,
    "figure_nll": 1,
    **{name: count for name, count in REPORT.items() if name != "agreement"},
    **TRAINING_FIGURES,
}
WORTH = {
    "lock_models": 4,
    "fetch_model": 3,
    "fetch_data": 1,
    "prepare_dialogues": 1,
    "dump_logits": 3,
    "align_tokens": 2,
    "map_vocabulary": 2,
    "transfer_logits": 2,
    "report_alignment": 2,
    "worth": 1,
}


def test_profile_slurm_plans_the_paper(clone):
    run = clone.snakemake("--profile", "slurm", "-n")
    assert run.returncode == 0, run.stderr
    assert "Using profiles slurm" in run.stdout + run.stderr
    assert job_counts(run.stdout + run.stderr) == PAPER


@pytest.mark.parametrize(("name", "jobs"), [("released", RELEASED), ("six_sources", SIX_SOURCES)])
def test_other_configurations_plan_the_same_way(clone, name, jobs):
    assert clone.planned("--profile", "slurm", "--configfile", f"configs/{name}.yaml") == jobs


@pytest.mark.parametrize("name", ["small", "cpu"])
def test_small_models_need_no_network_to_plan(clone, name):
    given = ("--configfile", f"configs/{name}.yaml")
    assert clone.planned(*given) == SMALL
    assert clone.planned("worth", *given) == WORTH
    run = clone.make("plan", "--cores", "1", *given)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_result_that_a_run_cannot_have_is_refused_before_any_job(clone):
    config = yaml.safe_load((clone.folder / "config.yaml").read_text())
    linear = {"method": "linear", "targets": {"mixtral": 1, "solar": 1}}
    (clone.folder / "linear.yaml").write_text(yaml.safe_dump(config | {"merges": {"mean": linear}}))
    for result in ("table2", "memory_efficiency"):
        run = clone.snakemake("--configfile", "linear.yaml", "-n", result)
        assert run.returncode == 1
        assert run.stderr.splitlines()[-1].startswith(f"error: {result} needs a merge with")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["tabel1"],
            "tabel1: there is no rule or file of this name; `snakemake --list` shows them",
        ),
        (["-n", "tabel1"], "; did you mean 'table1'?"),
        (["--until", "mergs", "-n"], "mergs: there is no rule or file of this name"),
        (["results/small/report.html"], "is no file of results/demo; name its configuration"),
        (["table1", "--cores", "0"], "--cores: 0 is neither a number of at least 1 nor all"),
    ],
)
def test_what_cannot_be_asked_for_ends_in_one_line(clone, words, said):
    run = clone.snakemake(*words)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("error: ")
    assert said in run.stderr.splitlines()[-1]
    assert not (clone.folder / "results" / "demo").exists()


def test_a_clone_that_cannot_be_written_is_told_in_one_line(tmp_path):
    project = copy_project(tmp_path / "project")
    (project.folder / ".snakemake").touch()  # in the way, also of root
    run = project.snakemake("-n")
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith(f"error: {project.folder}/.snakemake cannot be")
    assert "Traceback" not in run.stderr


def test_a_configuration_that_may_not_be_read_is_told_in_one_line(clone):
    run = clone.snakemake("-n", "--configfile", "/proc/self/mem")  # an OSError, also for root
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("error: --configfile [Errno ")


def test_the_papers_run_has_the_papers_settings():
    """Paper: section 4.1 and appendix A; released code: batch split, top 10, loss, seed."""
    config = checked(yaml.safe_load((ROOT / "configs" / "paper.yaml").read_text()))
    training = config["training"]
    assert {
        key: training[key] for key in ("clm_weight", "epochs", "learning_rate", "scheduler")
    } == {
        "clm_weight": 0.9,
        "epochs": 3,
        "learning_rate": 5e-6,
        "scheduler": "cosine",
    }
    assert (training["warmup_ratio"], training["weight_decay"]) == (0.03, 0.0)
    assert (training["max_grad_norm"], training["seed"]) == (1.0, 42)
    assert (training["global_batch_size"], training["micro_batch_size"]) == (128, 4)
    assert (training["gpu"], training["loss"], training["temperature"]) == (8, "ce", 1.0)
    assert config["data"]["max_length"] == 2048
    assert config["logits"]["top_k"] == 10
    assert config["fusion"] == {"function": "min_ce", "level": "dialogue"}
    merges = config["merges"]
    assert merges["linear"]["targets"] == {"target_mixtral": 1, "target_solar": 2}
    for name in ("ta", "ties", "dare"):
        assert merges[name]["targets"] == {"target_mixtral": 0.25, "target_solar": 0.5}
    assert merges["ties"]["density"] == merges["dare"]["density"] == 0.5
    assert (config["mt_bench"]["max_new_tokens"], config["mt_bench"]["choices"]) == (1024, 1)


def plan_of(name: str) -> dict[str, int]:
    config = checked(yaml.safe_load((ROOT / name).read_text()))
    known = yaml.safe_load((ROOT / "resources" / "throughputs.yaml").read_text())
    return {row.rule: row.jobs for row in Plan(Experiment(config), known).rows()}


@pytest.mark.parametrize(
    ("name", "jobs"), [("paper", PAPER), ("released", RELEASED), ("six_sources", SIX_SOURCES)]
)
def test_the_plan_counts_the_jobs_of_large_runs(name, jobs):
    assert plan_of(f"configs/{name}.yaml") == jobs


@pytest.mark.parametrize(
    "name", ["config", "configs/ablations", "configs/rehearsal", "configs/when_fusion_helps"]
)
def test_the_plan_counts_the_jobs_of_small_runs(clone, name):
    assert clone.planned("--configfile", f"{name}.yaml") == plan_of(f"{name}.yaml")


SWEEPS = ("clm_weight", "top_k", "fusion", "alignment", "varm", "unequal")


def test_ablations_sweep_one_setting_at_a_time_from_the_demos(clone):
    config = yaml.safe_load((ROOT / "configs" / "ablations.yaml").read_text())
    demo = yaml.safe_load((ROOT / "config.yaml").read_text())
    variants = config["data"]["world"].pop("variants")
    assert variants == {"few": {"dialogues": 150}}
    for section in ("models", "data", "logits", "training", "mt_bench"):
        assert config[section] == demo[section]
    assert tuple(config["sweeps"]) == SWEEPS
    planned = clone.planned("sweeps", "--configfile", "configs/ablations.yaml")
    drawn = planned["sweep_figure"] + planned["sweep_curve"]  # a curve over a number
    assert planned["sweep_table"] == drawn == len(SWEEPS)
    assert planned["train_target"] == 3 * len(config["targets"]) == 3 * 17
    otherwise = [t for t in config["targets"].values() if "alignment" in t]
    assert planned["align_tokens"] == planned["transfer_logits"] == 3 + len(otherwise) == 7


def test_a_sweeps_table_bears_its_name(clone):
    table = "results/ablations/sweeps/alignment.csv"
    run = clone.snakemake("-n", "-p", table, "--configfile", "configs/ablations.yaml")
    command = next(re.finditer(r"^Shell command: .*table1.*$", run.stdout, re.MULTILINE))[0]
    assert "--baseline solar " in command
    assert "--title 'Sweep: alignment' --output results/ablations/sweeps/alignment " in command


def test_released_checkpoints_are_compared_with_what_is_made_from_the_same_targets(clone):
    planned = clone.planned("released", "--configfile", "configs/released.yaml")
    planned.pop("released")
    assert planned == {
        "lock_models": 6,
        "fetch_model": 6,
        "measure_variation": 2,
        "merge_linear": 2,
        "merge_mergekit": 4,
        "merge_varm": 4,
        "compare_released": 3,
    }


def test_a_committed_lock_stands_in_for_locking(clone):
    lock = clone.folder / "configs" / "paper.lock.json"
    lock.write_text('{"solar": {}, "data-set": {}}')
    try:
        planned = clone.planned("--profile", "slurm")
    finally:
        lock.unlink()
    assert planned == PAPER | {"lock_models": 2 + 6}


@pytest.mark.parametrize(("name", "count"), [("paper", 13 + 3), ("released", 14)])
def test_rows_of_the_papers_own_models_get_verdicts_beside_its_numbers(clone, name, count):
    run = clone.snakemake("-n", "-p", "table1", "--configfile", f"configs/{name}.yaml")
    (command,) = re.findall(r"python scripts/table1.py .*", run.stdout + run.stderr)
    words = shlex.split(command.rpartition(" > ")[0])
    assert words[words.index("--compare") + 1] == "verdicts"
    paper = read_paper(ROOT / "resources" / "paper" / "table1.csv")
    config = yaml.safe_load((ROOT / f"configs/{name}.yaml").read_text())
    (judge,) = config["mt_bench"]["judges"].values()
    assert words[words.index("--judge-model") + 1] == judge["model"]
    rows = [row_argument(words[i + 1]) for i, word in enumerate(words) if word == "--row"]
    with (ROOT / "resources" / "paper" / "table1.csv").open(newline="") as stream:
        printed = {record["row"]: record["label"] for record in csv.DictReader(stream)}
    compared = [row for row in rows if paper.has(row)]
    assert len(compared) == count
    for row in compared:
        assert row.label.removeprefix("Released ") == printed[row.paper], row
    others = {row.group for row in rows if not paper.has(row)}
    assert others == {"Fused", "Comparison" if name == "paper" else "Paper"}


def test_case_study_shows_the_papers_four_models(clone):
    run = clone.snakemake("-n", "-p", "case_study", "--configfile", "configs/paper.yaml")
    (command,) = re.findall(r"python scripts/case_study.py .*", run.stdout + run.stderr)
    shown = re.search(r"--show (.*?) --paper resources/paper/case_study.csv", command)[1]
    assert shown.split() == ["clm", "target_mixtral", "target_solar", "varm"]


def test_a_released_dump_takes_the_place_of_a_models_own(clone):
    config = yaml.safe_load((clone.folder / "configs" / "paper.yaml").read_text())
    config["models"]["openchat"]["logits"] = "released dump"
    (clone.folder / "released dump").mkdir()
    output = "results/paper/logits/openchat/0001.parquet"
    command = planned_command(clone, "released_dump", config, output)
    assert "import_logits.py --released 'released dump' --model" in command
    shards = [f"results/paper/dialogues/000{i}.parquet" for i in range(4)]
    read = f"--dialogues {' '.join(shards)} --special-text text --template openchat_3.5"
    assert f"{read} --top-k 10 " in command
    run = clone.snakemake("--configfile", "released_dump.yaml", "-n", "-p", output)
    assert " --output results/paper/logits/openchat > " in run.stdout + run.stderr
    planned = clone.planned("--profile", "slurm", "--configfile", "released_dump.yaml")
    assert planned == PAPER | {"dump_logits": 2 * 4, "import_logits": 1}
    shutil.rmtree(clone.folder / "released dump")
    run = clone.snakemake("--configfile", "released_dump.yaml", "-n")
    assert "models.openchat.logits: released dump is not a folder" in run.stdout + run.stderr


def test_the_plan_is_the_same_by_rule_and_by_hand(clone):
    """The rule reads what Snakemake merged; by hand, the program merges the same files."""
    (clone.folder / "overlay.yaml").write_text("training: {epochs: 2}\ndata: {heldout: 100}\n")
    given = ["--configfile", "config.yaml", "overlay.yaml", "--config", "device=cuda"]
    run = clone.make("plan", "--cores", "1", *given)
    assert run.returncode == 0, run.stdout + run.stderr
    results = clone.folder / "results" / "demo"
    effective = yaml.safe_load((results / "config.yaml").read_text())
    assert (effective["device"], effective["data"]["heldout"]) == ("cuda", 100)
    assert effective["training"]["loss"] == "ce"  # a default
    program = [sys.executable, "scripts/plan.py", *given, "--output", "by_hand"]
    subprocess.run(program, cwd=clone.folder, check=True, capture_output=True)
    by_rule = (results / "plan" / "plan.csv").read_text()
    assert (clone.folder / "by_hand.csv").read_text() == by_rule
    assert "gpu_hours" in by_rule
    (clone.folder / "overlay.yaml").write_text("training: {epochs: 3}\n")
    run = clone.snakemake("results/demo/config.yaml", "--cores", "1", *given)
    assert yaml.safe_load((results / "config.yaml").read_text())["training"]["epochs"] == 3
    reasons = [line for line in run.stderr.splitlines() if "Params have changed" in line]
    assert reasons
    assert max(map(len, reasons)) < 1000  # not the whole configuration, twice
    shutil.rmtree(results)


WRONG = {
    "missing": (
        "data: {exclude: no/such.txt}\n",
        "line 1: data.exclude: no/such.txt is not a file",
    ),
    "template": ("device: cpu\ntemplate: openchat_99\n", "line 2: template: 'openchat_99' is none"),
    "twice": ("device: cpu\ndevice: cuda\n", "line 2: the key 'device' is there already"),
    "syntax": ("name: demo\n  pivot: x\n", "line 2: mapping values are not allowed here"),
    "empty": ("", "is empty; it must have keys"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_configuration_is_one_line_without_traceback(clone, name):
    text, message = WRONG[name]
    (clone.folder / "wrong.yaml").write_text(text)
    shutil.rmtree(clone.folder / "results", ignore_errors=True)
    run = clone.snakemake("-n", "--configfile", "config.yaml", "wrong.yaml")
    assert run.returncode == 1
    *before, line = run.stderr.splitlines()
    assert line.startswith("error: ")
    assert "wrong.yaml" in line
    assert message in line
    assert len(before) <= 2
    assert "Traceback" not in run.stdout + run.stderr
    assert not (clone.folder / "results" / "demo").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--config", "device"), "--config: 'device' is not KEY=VALUE"),
        (
            ("--config", "device=cpu", "table1"),
            "--config: 'table1' is not KEY=VALUE; ",
        ),
        (("--configfile=",), "--configfile '' does not exist"),
        (("--configfile", "rules"), "--configfile rules is a folder, not a file"),
    ],
)
def test_a_wrong_call_of_snakemake_is_one_line_without_traceback(clone, words, message):
    run = clone.snakemake("-n", *words)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith(f"error: {message}")
    assert "Traceback" not in run.stdout + run.stderr
