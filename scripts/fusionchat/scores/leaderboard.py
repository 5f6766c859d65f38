"""Scores of tasks with their standard errors, paired comparisons, and the published numbers."""

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fusionchat.errors import UserError
from fusionchat.leaderboard.documents import read_documents
from fusionchat.readers.csv import read_csv
from fusionchat.scores.metrics import Metric, Paired, compare_documents, mean_and_error
from fusionchat.scores.rows import Row
from fusionchat.scores.seeds import paired_seeds, split_seed
from fusionchat.scores.statistics import holm
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


@dataclass(frozen=True)
class TaskScores:
    """One model's documents of one task that all its seeds scored: `values` [D, S]."""

    documents: tuple[tuple[str, str], ...]  # subtask, number
    seeds: tuple[int, ...]
    values: np.ndarray


Scores = dict[str, dict[str, TaskScores]]
Columns = dict[str, list[Any]]  # of a file, by name


def task_column(text: str) -> Task:
    """An argparse type: `NAME:AVERAGE:LABEL`."""
    name, _, rest = text.partition(":")
    average, _, label = rest.partition(":")
    if not name or average not in ("documents", "subtasks") or not label:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:documents|subtasks:LABEL")
    return Task(Metric(name, label, scale=100.0), average)


def read_scores(
    paths: Sequence[Path], tasks: Sequence[Task]
) -> tuple[Scores, list[Task], int | None]:
    """Scores by model and task, the tasks with their settings, which all files must share, and the
    number of documents that each task was limited to.
    """
    files = {path.stem: read_documents(path) for path in paths}
    settings = {name: facts["tasks"] for name, (_, facts) in files.items()}
    first = next(iter(settings))
    for name, given in settings.items():
        if given != settings[first] or files[name][1]["limit"] != files[first][1]["limit"]:
            raise UserError(f"{name} and {first} were measured with other tasks, shots or limits")
    if unknown := [t.metric.name for t in tasks if t.metric.name not in settings[first]]:
        raise UserError(f"--task: {unknown[0]} was not measured ({', '.join(settings[first])})")
    columns = [
        Task(task.metric, task.average, asked["shots"], asked["metric"])
        for task in tasks
        for asked in [settings[first][task.metric.name]]
    ]
    rows = {name: table.to_pydict() for name, (table, _) in files.items()}
    return _by_model(rows, columns), columns, files[first][1]["limit"]


def check_measured(scores: Scores, rows: Sequence[Row]) -> None:
    """Refuse a row without scores."""
    if lacking := [row.name for row in rows if row.name not in scores]:
        raise UserError(f"--scores: there are none of {', '.join(lacking)}")


def _by_model(files: Mapping[str, Columns], tasks: Sequence[Task]) -> Scores:
    replicates: dict[str, dict[int, Columns]] = {}
    for name, rows in files.items():
        base, seed = split_seed(name, files)
        replicates.setdefault(base, {})[seed] = rows
    return {
        name: {task.metric.name: _joined(dict(sorted(seeds.items())), task) for task in tasks}
        for name, seeds in replicates.items()
    }


def _joined(seeds: Mapping[int, Columns], task: Task) -> TaskScores:
    """A task's documents that all seeds have, weighted as its average asks for."""
    columns = [
        {
            (subtask, document): value
            for name, subtask, document, value in zip(
                *(rows[key] for key in ("task", "subtask", "document", "value")), strict=True
            )
            if name == task.metric.name
        }
        for rows in seeds.values()
    ]
    shared = tuple(key for key in columns[0] if all(key in column for column in columns))
    values = np.asarray([[column[key] for column in columns] for key in shared])
    if task.average == "subtasks":
        values = of_subtasks(values, [subtask for subtask, _ in shared])
    return TaskScores(shared, tuple(seeds), values)


def of_subtasks(values: np.ndarray, subtasks: Sequence[str]) -> np.ndarray:
    """Values [D, S] whose plain mean is the mean of the subtasks' means.

    m + w (x - m_k), where w = D / (K D_k): their variance is that of the stratified mean.
    """
    names, places = np.unique(np.asarray(subtasks), return_inverse=True)
    counts = np.bincount(places)
    means = np.stack([values[places == place].mean(axis=0) for place in range(len(names))])
    weights = len(values) / (len(names) * counts)
    return means.mean(axis=0) + weights[places][:, None] * (values - means[places])


def score(scores: Mapping[str, TaskScores], task: str) -> tuple[float, float]:
    """A task's mean and standard error; of MEAN, the plain mean of all tasks."""
    if task != MEAN:
        return mean_and_error(scores[task].values)
    parts = [mean_and_error(one.values) for one in scores.values()]
    errors = math.sqrt(sum(error**2 for _, error in parts)) / len(parts)
    return sum(mean for mean, _ in parts) / len(parts), errors


def compare(
    scores: Scores, models: Iterable[str], baseline: str
) -> dict[tuple[str, str], tuple[Paired, float]]:
    """Each model against the baseline on each task, with Holm's p-value over all of them."""
    pairs = {
        (model, task): _paired(one, scores[baseline][task], task)
        for model in models
        if model != baseline
        for task, one in scores[model].items()
    }
    corrected = holm(np.asarray([pair.p for pair in pairs.values()]))
    return {key: (pair, float(p)) for (key, pair), p in zip(pairs.items(), corrected, strict=True)}


def _paired(one: TaskScores, other: TaskScores, task: str) -> Paired:
    if one.documents != other.documents:
        raise UserError(f"{task}: two models were measured on other documents; evaluate them anew")
    return compare_documents(one.values, other.values, paired_seeds(one.seeds, other.seeds))


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
    return Published(values, sources[0])


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
