"""The leaderboard's statistics and table, against textbooks, the harness and by hand."""

import csv
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from lm_eval.api.metrics import mean_stderr

import leaderboard
from fusionchat.errors import UserError
from fusionchat.leaderboard.documents import SCHEMA, write_documents
from fusionchat.scores.leaderboard import against_published, read_published
from fusionchat.scores.metrics import Column, Measured, Metric, column, mcnemar
from fusionchat.scores.rows import Row

PUBLISHED = Path(__file__).resolve().parents[3] / "resources" / "paper" / "leaderboard.csv"


def scores(path: Path, values: dict[str, list[float]], shots: int = 0, limit=None) -> Path:
    """A file of evaluate_tasks; `arc_challenge` is measured by acc_norm, others by acc."""
    rows = [
        (task, task.replace("group", f"part{number % 2}"), str(number), float(value))
        for task, entries in values.items()
        for number, value in enumerate(entries)
    ]
    metrics = {task: "acc_norm" if task == "arc_challenge" else "acc" for task in values}
    tasks = {task: {"shots": shots, "metric": metrics[task]} for task in values}
    table = pa.table(list(zip(*rows, strict=True)), schema=SCHEMA)
    write_documents(path, table, {"tasks": tasks, "limit": limit})
    return path


def run(folder: Path, *words: str) -> list[dict[str, str]]:
    files = sorted(map(str, folder.glob("*.parquet")))
    leaderboard.main(["--scores", *files, "--output", str(folder / "out"), *words])
    with (folder / "out.csv").open() as stream:
        return list(csv.DictReader(stream))


def of_values(**models: np.ndarray) -> Column:
    """A column of models' values [D, S]."""
    metric = Metric("acc", "acc", "accuracy", "document", binary=True)
    names = {f"{m}-seed{s}" if s > 1 else m: v for m, vs in models.items() for s, v in each(vs)}
    return column(metric, {n: {i: Measured(x) for i, x in enumerate(v)} for n, v in names.items()})


def each(values: np.ndarray):
    return enumerate(values.T, 1)


def test_mean_and_error_are_the_harness_s():
    values = np.random.default_rng(1).integers(0, 2, 40).astype(float)
    found = of_values(m=values[:, None]).estimate("m").estimate
    expected = (values.mean(), mean_stderr(list(values)))
    assert (found.mean[0], found.error[0]) == pytest.approx(expected)


def test_mcnemar_is_the_textbook_s():
    """Ten discordant documents, two of them for the first model: 2 (1 + 10 + 45) / 1024."""
    one = np.array([1.0] * 5 + [0.0] * 8 + [1.0] * 2)
    other = np.array([1.0] * 5 + [1.0] * 8 + [0.0] * 2)
    assert mcnemar(one, other) == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert mcnemar(one, one) == 1.0


def test_several_seeds_and_shares_take_the_t_test():
    rng = np.random.default_rng(2)
    single = rng.integers(0, 2, (30, 1)).astype(float)
    double = rng.integers(0, 2, (30, 2)).astype(float)
    made = of_values(single=single, opposite=1 - single, double=double, half=single / 2)
    assert made.paired("single", "opposite").test == "McNemar"
    assert made.paired("double", "single").test == "paired t"
    assert made.paired("half", "single").test == "paired t"


def test_the_mean_of_subtasks_weighs_each_alike():
    rng = np.random.default_rng(3)
    parts = [rng.random(5), rng.random(20), rng.random(8)]
    values = {
        (name, place): Measured(float(value), stratum=str(name))
        for name, part in enumerate(parts)
        for place, value in enumerate(part)
    }
    found = column(Metric("m", "m", "m", "document"), {"m": values}).estimate("m").estimate
    assert found.mean[0] == pytest.approx(np.mean([part.mean() for part in parts]))
    stratified = math.sqrt(sum(part.var(ddof=1) / len(part) for part in parts)) / 3
    assert found.error[0] == pytest.approx(stratified)


@pytest.mark.parametrize(
    ("ours", "error", "verdict"),
    [(63.5, 1.4, "agrees"), (60.0, 1.4, "not resolvable"), (55.0, 1.4, "differs")],
)
def test_the_verdict_beside_a_published_number(ours, error, verdict):
    assert against_published(ours, error, 62.88) == verdict
    assert against_published(ours, error, math.nan) == "not in the paper"


def test_the_published_numbers_have_their_printed_mean():
    varm = read_published(PUBLISHED).of(Row("Fused", "x", "X", "varm"))
    tasks = [score for name, (score, _, _) in varm.items() if name != "mean"]
    assert len(tasks) == 6
    assert np.mean(tasks) == pytest.approx(varm["mean"][0], abs=0.005)


def test_the_table_pairs_by_document_and_judges_the_published_numbers(tmp_path):
    right, wrong = [1, 1, 1, 0] * 30, [1, 0, 0, 0] * 30
    for name, values in (("varm", right), ("clm", wrong), ("clm-seed2", wrong)):
        scores(tmp_path / f"{name}.parquet", {"arc_challenge": values, "group": values}, shots=25)
    records = run(
        tmp_path,
        *("--task", "arc_challenge:documents:ARC", "--task", "group:subtasks:Group"),
        *("--row", "Target:clm:CLM", "--row", "Fused:varm:VaRM"),
        *("--baseline", "clm", "--published", str(PUBLISHED)),
    )
    by = {(r["model"], r["task"]): r for r in records}
    assert list(by) == [(m, t) for m in ("clm", "varm") for t in ("arc_challenge", "group", "mean")]
    varm = by["varm", "arc_challenge"]
    assert float(varm["score"]) == 75.0
    assert float(varm["difference"]) == 50.0
    assert (varm["test"], varm["documents"], varm["shots"]) == ("paired t", "120", "25")
    assert (varm["published"], varm["verdict"]) == ("62.88", "differs")
    assert by["clm", "arc_challenge"]["seeds"] == "2"
    assert by["varm", "mean"]["verdict"] == "other settings"  # five of its tasks are not there
    text = (tmp_path / "out.md").read_text()
    assert "| VaRM" in text
    assert "+50.00*" in text
    assert "62.88, differs" in text
    assert "Published by: Open LLM Leaderboard (first version)." in text
    assert "mean of the subtasks' means" in text


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    task = ["--task", "a:documents:A", "--row", "Source:one:One", "--row", "Source:two:Two"]
    scores(tmp_path / "one.parquet", {"a": [1, 0]})
    with pytest.raises(UserError, match="--scores: there are none of two"):
        run(tmp_path, *task, "--baseline", "one")
    scores(tmp_path / "two.parquet", {"a": [1, 0]}, shots=5)
    with pytest.raises(UserError, match="other tasks, shots or limits"):
        run(tmp_path, *task, "--baseline", "one")
    scores(tmp_path / "two.parquet", {"a": [1, 0, 1]})
    with pytest.raises(UserError, match="measured on other documents"):
        run(tmp_path, *task, "--baseline", "one")
    again = scores(tmp_path / "again" / "one.parquet", {"a": [1, 0]})
    both = ["--scores", str(tmp_path / "one.parquet"), str(again)]
    with pytest.raises(UserError, match=r"again/one\.parquet: there are scores of one already"):
        run(tmp_path, *task, "--baseline", "one", *both)
    with pytest.raises(UserError, match=r"--task: b was not measured \(a\)"):
        run(tmp_path, *task, "--task", "b:documents:B", "--baseline", "one")
