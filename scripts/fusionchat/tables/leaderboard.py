"""The table of tasks: scores with standard errors, paired differences, published numbers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fusionchat.scores import leaderboard as scoring
from fusionchat.scores.comparisons import Comparison
from fusionchat.scores.leaderboard import MEAN, Published, Scores, Task
from fusionchat.scores.metrics import Values
from fusionchat.scores.rows import Row
from fusionchat.scores.verdicts import SIGNIFICANT
from fusionchat.tables.table import Table, fixed

Record = dict[str, Any]
Records = Sequence[Record]
Comparisons = Mapping[tuple[str, str], Comparison]

SEEDS = "Several training seeds: their mean; its error is over documents and seeds."
PAIRED = (
    "Points, paired by document: McNemar's exact test for right and wrong answers of one training "
    "seed, else a paired t test over documents and seeds. * significant after Holm's correction "
    "over all differences of this table."
)
VERDICTS = (
    "Published numbers and the verdict on ours: agrees within one point; differs where two samples "
    "of so many documents would rarely be that far apart; else not resolvable."
)


def leaderboard_records(
    rows: Sequence[Row],
    tasks: Sequence[Task],
    scores: Scores,
    comparisons: Comparisons,
    published: Published | None,
) -> list[Record]:
    """One record a row and task, and one for the mean of the tasks; scores in points."""
    records = []
    for row in rows:
        for task in [*tasks, None]:
            name = task.metric.name if task else MEAN
            scale = task.metric.scale if task else 100.0
            value, error = (scale * x for x in scoring.score(scores, row.name, name))
            record: Record = {"group": row.group, "model": row.name, "label": row.label}
            record |= {"task": name, "score": value, "standard_error": error}
            record |= _settings(task, scores[name].of(row.name)) if task else {}
            record |= _difference(comparisons.get((row.name, name)), scale)
            record |= _verdict(row, tasks, name, (value, error), published) if published else {}
            records.append(record)
    return records


def _settings(task: Task, values: Values) -> Record:
    given = {"metric": task.measured, "shots": task.shots, "average": task.average}
    return given | {"documents": len(values.units), "seeds": len(values.seeds)}


def _difference(result: Comparison | None, scale: float) -> Record:
    if result is None:
        return {}
    ends = {"": result.difference, "_low": result.low, "_high": result.high}
    tested = {"p": result.p, "p_holm": result.p_holm, "test": result.test}
    return {f"difference{end}": scale * value for end, value in ends.items()} | tested


def _verdict(
    row: Row, tasks: Sequence[Task], name: str, measured: tuple[float, float], published: Published
) -> Record:
    """The published number and the verdict, which needs the same shots and metric.

    The mean of the tasks needs them of all tasks that are published.
    """
    known = published.of(row)
    if name not in known:
        return {}
    asked = {task.metric.name: (task.shots, task.measured) for task in tasks}
    needed = known.keys() - {MEAN} if name == MEAN else {name}
    alike = all(asked.get(task) == known[task][1:] for task in needed)
    verdict = scoring.against_published(*measured, known[name][0])
    return {"published": known[name][0], "verdict": verdict if alike else scoring.OTHER_SETTINGS}


def leaderboard_tables(
    records: Records, tasks: Sequence[Task], baseline: Row, limit: int | None, source: str = ""
) -> list[Table]:
    """Scores, differences from the baseline, and what `source` published where it did."""
    heads = [*(task.metric.label for task in tasks), "Mean"]
    documents = [str(record["documents"]) for record in records if "documents" in record]
    first = f"the first {limit} documents of each task" if limit else "all documents"
    about = [
        f"{task.metric.label}: {task.measured}, shots {task.shots}, documents {count}"
        + (", mean of the subtasks' means" if task.average == "subtasks" else "")
        for task, count in zip(tasks, documents, strict=False)
    ]
    tables = [
        Table(
            "Leaderboard tasks",
            ["Model", *heads],
            _cells(records, _score),
            [f"Percent ± standard error, on {first}. {'; '.join(about)}.", SEEDS],
        ),
        Table(
            f"Leaderboard tasks: difference from {baseline.label}",
            ["Model", *heads[:-1]],
            _cells(records, _paired_cell, skip=MEAN),
            [PAIRED],
        ),
    ]
    if any("published" in record for record in records):
        cells = _cells(records, _published_cell, only="published")
        notes = [f"{VERDICTS} Published by: {source}."]
        tables.append(Table("Leaderboard tasks: published", ["Model", *heads], cells, notes))
    return tables


def _cells(
    records: Records, cell: Callable[[Record], str], skip: str = "", only: str = ""
) -> dict[str, list[list[str]]]:
    """A line a model with a cell a task; with `only`, models of which a record has that key."""
    lines: dict[str, dict[str, list[str]]] = {}
    kept = {record["model"] for record in records if not only or only in record}
    for record in records:
        if record["model"] in kept and record["task"] != skip:
            group = lines.setdefault(str(record["group"]), {})
            group.setdefault(str(record["model"]), [str(record["label"])]).append(cell(record))
    return {group: list(models.values()) for group, models in lines.items()}


def _score(record: Record) -> str:
    return f"{fixed(record['score'])} ± {fixed(record['standard_error'])}"


def _paired_cell(record: Record) -> str:
    if "difference" not in record:
        return "–"
    star = "*" if record["p_holm"] < SIGNIFICANT else ""
    return f"{fixed(record['difference'], signed=True)}{star}"


def _published_cell(record: Record) -> str:
    if "published" not in record:
        return "–"
    return f"{fixed(record['published'])}, {record['verdict']}"
