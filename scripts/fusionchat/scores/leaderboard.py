"""Scores of tasks with their standard errors, paired comparisons, and the published numbers."""

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusionchat.errors import UserError
from fusionchat.leaderboard.documents import read_documents
from fusionchat.readers.csv import read_csv
from fusionchat.scores.comparisons import Comparison, corrected
from fusionchat.scores.metrics import Column, Measured, Metric, column
from fusionchat.scores.rows import Row
from fusionchat.scores.verdicts import AGREES, DIFFERS, NO_PAPER, NOT_RESOLVABLE

MEAN = "mean"  # of all tasks, where one stands for a task
OTHER_SETTINGS = "other settings"
TOLERANCE = 1.0  # points between versions and precisions of the same measurement


@dataclass(frozen=True)
class Task:
    """A column of the table: its metric, and how it was measured."""

    metric: Metric
    average: str  # over documents, or of the means of subtasks
    shots: int = 0
    measured: str = ""  # the harness's name of the metric


Scores = dict[str, Column]  # by task
Columns = dict[str, list[Any]]  # of a file, by name


def task_column(text: str) -> Task:
    """An argparse type: `NAME:AVERAGE:LABEL`."""
    name, _, rest = text.partition(":")
    average, _, label = rest.partition(":")
    if not name or average not in ("documents", "subtasks") or not label:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:documents|subtasks:LABEL")
    metric = Metric(name, label, name, "document", scale=100.0, bounds=(0.0, 1.0), binary=True)
    return Task(metric, average)


def read_scores(
    paths: Sequence[Path], tasks: Sequence[Task]
) -> tuple[Scores, list[Task], int | None]:
    """A column for each task, the tasks with their settings, which all files must share, and the
    number of documents that each task was limited to.
    """
    places: dict[str, Path] = {}
    for path in paths:  # the model has the name of its file
        if (other := places.setdefault(path.stem, path)) is not path:
            raise UserError(f"{path}: there are scores of {path.stem} already, in {other}")
    files = {name: read_documents(path) for name, path in places.items()}
    settings = {name: facts["tasks"] for name, (_, facts) in files.items()}
    first = next(iter(settings))
    for name, given in settings.items():
        if given != settings[first] or files[name][1]["limit"] != files[first][1]["limit"]:
            raise UserError(
                f"{places[name]}: measured with other tasks, shots or limits than {places[first]}"
            )
    if unknown := [t.metric.name for t in tasks if t.metric.name not in settings[first]]:
        raise UserError(f"--task: {unknown[0]} was not measured ({', '.join(settings[first])})")
    columns = [
        Task(task.metric, task.average, asked["shots"], asked["metric"])
        for task in tasks
        for asked in [settings[first][task.metric.name]]
    ]
    rows = {name: table.to_pydict() for name, (table, _) in files.items()}
    scores = {task.metric.name: _column(rows, task) for task in columns}
    return scores, columns, files[first][1]["limit"]


def check_measured(scores: Scores, rows: Sequence[Row]) -> None:
    """Refuse a row without scores."""
    for one in scores.values():
        if lacking := [row.name for row in rows if row.name not in one.models]:
            raise UserError(f"--scores: there are none of {', '.join(lacking)}")


def _column(files: Mapping[str, Columns], task: Task) -> Column:
    """A task's documents, in strata of subtasks where the average is that of their means."""
    keys = ("task", "subtask", "document", "value")
    strata = task.average == "subtasks"
    return column(
        task.metric,
        {
            name: {
                (subtask, document): Measured(value, stratum=subtask if strata else "")
                for of_task, subtask, document, value in zip(*(rows[k] for k in keys), strict=True)
                if of_task == task.metric.name
            }
            for name, rows in files.items()
        },
    )


def score(scores: Scores, model: str, task: str) -> tuple[float, float]:
    """A task's mean and standard error; of MEAN, the plain mean of all tasks."""
    if task != MEAN:
        estimate = scores[task].estimate(model).estimate
        return float(estimate.mean[0]), float(estimate.error[0])
    parts = [score(scores, model, one) for one in scores]
    errors = math.sqrt(sum(error**2 for _, error in parts)) / len(parts)
    return sum(mean for mean, _ in parts) / len(parts), errors


def compare(
    scores: Scores, models: Iterable[str], baseline: str
) -> dict[tuple[str, str], Comparison]:
    """Each model against the baseline on each task, one family of Holm's."""
    pairs = {
        (model, task): one.paired(model, baseline)
        for model in models
        if model != baseline
        for task, one in scores.items()
    }
    return corrected({key: paired for key, paired in pairs.items() if paired is not None})


@dataclass(frozen=True)
class Published:
    """Published numbers in percent by (group, row) and task, with shots and metric of each."""

    values: Mapping[tuple[str, str], Mapping[str, tuple[float, int, str]]]
    source: str

    def of(self, row: Row) -> Mapping[str, tuple[float, int, str]]:
        """The numbers of a row by task; empty where nothing is published."""
        return self.values.get((row.group, row.paper), {})


def read_published(path: Path) -> Published:
    """Read resources/paper/leaderboard.csv."""
    values: dict[tuple[str, str], dict[str, tuple[float, int, str]]] = {}

    def keep(line: dict[str, str]) -> str:
        number = (float(line["score"]), int(line["shots"]), line["metric"])
        values.setdefault((line["group"], line["row"]), {})[line["task"]] = number
        return line["source"]

    sources = read_csv(path, keep, "a table of published scores")
    return Published(values, "; ".join(dict.fromkeys(sources)))


def against_published(ours: float, error: float, published: float) -> str:
    """Verdict on a score beside a published one, both in points.

    `agrees` within TOLERANCE; `differs` where the two are further apart than independent samples of
    documents of that size would put them; else `not resolvable`.
    """
    if not math.isfinite(published):
        return NO_PAPER
    gap = abs(ours - published)
    if gap <= TOLERANCE:
        return AGREES
    return DIFFERS if gap > 1.96 * math.sqrt(2) * error else NOT_RESOLVABLE
