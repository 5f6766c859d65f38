"""The workflow as a whole: lint, declarations, and the files of a finished run."""

import ast
import re
from pathlib import Path

import pandas as pd
import pytest
from rule_files import program_of, read_rules

from fusionchat.files import read_json

ROOT = Path(__file__).resolve().parents[2]
RULES = read_rules()
# Rules that run whenever they are asked for, so they leave no file that would say they have.
LOOKS_AGAIN = {"check", "show_results"}
KEPT = {"output", "benchmark"}


@pytest.mark.parametrize("name", RULES)
def test_each_rule_is_declared_in_full(name: str):
    rule = RULES[name]
    for directive in ("input", "output", "log", "benchmark", "conda", "threads", "resources"):
        assert (directive in rule) == (directive not in KEPT or name not in LOOKS_AGAIN), directive
    assert rule["doc"].startswith('"""')
    tree = ast.parse((ROOT / "scripts" / f"{program_of(rule)}.py").read_text())
    assert ast.get_docstring(tree)


# Rules that run a program for another purpose than the rule of its name does.
PROGRAMS = {
    "answer_alpaca": "answer",  # other questions
    "answer_elsewhere": "answer",  # behind an endpoint: no GPU, but the network
    "fetch_answers": "fetch_data",  # other files of the hub, to other places
    "fetch_votes": "fetch_data",
    "sweep_figure": "figure_scores",  # the models of one sweep
    "sweep_table": "table1",
    "write_table1": "table1",  # the name to type is a target that asks for the models, too
    "write_table2": "table2",
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_its_program_its_log_and_its_benchmark_have_one_name(name: str):
    rule = RULES[name]
    assert program_of(rule) == PROGRAMS.get(name, name)
    folders = {"log": "<logs>", "benchmark": "<benchmarks>"}
    for directive, folder in ((d, f) for d, f in folders.items() if d in rule):
        (path,) = re.findall(r'"(.*)"', rule[directive])
        assert re.fullmatch(rf"{folder}/({{mixture}})?{name}(/.*)?\.(log|tsv)", path)


def test_text_values_reach_the_shell_quoted():
    """Numbers and closed choices may stand bare; names, paths and free text may not."""
    for name, rule in RULES.items():
        for field in re.findall(r"\{((?:input|output|log)\b[^}]*)\}", rule["shell"]):
            assert field.endswith(":q"), (name, field)


def test_lint_is_clean(finished):
    run = finished.snakemake("--lint")
    assert run.returncode == 0, run.stdout + run.stderr


def test_tables_hold_every_model_of_the_run(finished):
    table = pd.read_csv(finished.results / "tables" / "table1.csv")
    scores = pd.read_parquet(finished.results / "mt_bench" / "scores.parquet")
    assert len(table) == scores["model"].nunique() == 13


def test_every_job_left_a_log_and_a_benchmark(finished):
    logs = {
        p.relative_to(finished.results / "logs").with_suffix("")
        for p in finished.results.glob("logs/**/*.log")
    }
    benchmarks = {
        p.relative_to(finished.results / "benchmarks").with_suffix("")
        for p in finished.results.glob("benchmarks/**/*.tsv")
    }
    assert logs == benchmarks
    assert len(logs) > 40


def test_what_was_left_out_or_not_scored_is_counted(finished):
    dialogues = read_json(finished.results / "dialogues" / "report.json")
    assert (dialogues["malformed"], dialogues["heldout_rows"]) == ({}, 8)
    for model in ("pivot", "moe", "deep"):
        shards = [
            read_json(finished.results / "logits" / model / f"{shard:04d}.json")
            for shard in range(2)
        ]
        assert sum(facts["dialogues"] for facts in shards) == dialogues["training_rows"]
        assert all(facts["not_finite"] == facts["too_long"] == [] for facts in shards)


def test_no_partial_files_are_left(finished):
    assert not list(finished.results.rglob("*.partial"))


def test_the_plan_counts_the_jobs_and_the_disk_of_the_finished_run(finished, monkeypatch):
    from fusionchat.cluster.costs.rates import read_rates
    from fusionchat.cluster.plan import Plan
    from fusionchat.config import read_config
    from fusionchat.experiment import Experiment
    from fusionchat.figures.costs import read_costs

    monkeypatch.chdir(finished.folder)
    rows = Plan(Experiment(read_config(["config.yaml"])), read_rates()).rows()
    done = {cost.rule: cost for cost in read_costs(finished.results / "benchmarks")}
    assert {row.rule: row.jobs for row in rows} == {rule: cost.jobs for rule, cost in done.items()}
    files = [path for path in finished.results.rglob("*") if path.is_file()]
    kept = sum(path.stat().st_size for path in files)
    assert 1e9 * sum(row.kept_gb for row in rows) == pytest.approx(kept, rel=0.1)
    for row in rows:  # seconds are the machine's own, so they are only shown
        print(
            f"{row.rule}: {3600 * row.hours:.0f} s planned, {done[row.rule].cpu_seconds:.0f} CPU s"
        )
