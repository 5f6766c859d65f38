"""Scores as a table, one row a judgment, and FastChat's summaries of it."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from fusionchat.errors import UserError
from fusionchat.files import read_jsonl
from fusionchat.mt_bench.judging.ratings import NO_RATING
from fusionchat.mt_bench.questions import Question
from fusionchat.scores.seeds import split_seed

SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("seed", pa.int32()),
        ("judge", pa.string()),
        ("repeat", pa.int32()),
        ("choice", pa.int32()),
        ("question_id", pa.int32()),
        ("category", pa.string()),
        ("turn", pa.int32()),
        ("score", pa.float64()),
    ]
)
Key = tuple[str, str, int, int, int, int]


def read_scores(files: Iterable[Path], questions: Sequence[Question]) -> pa.Table:
    """One row for every model, judge, repeat, choice, question and turn; missing scores are null.

    Records of `clm-seed2` are seed 2 of the model `clm`, where there is one.
    A judgment that is not in the files is a row without score too: nothing is dropped. The same
    judgment twice, or one of a question that is not in the list, is a `UserError`.
    """
    known = {q.question_id: q for q in questions}
    scores: dict[Key, float | None] = {}
    for path in files:
        for record in read_jsonl(path):
            key = _key(record, path)
            if key[4] not in known:
                raise UserError(f"{path}: question {key[4]} is not in the questions file")
            if key in scores:
                raise UserError(f"{path}: judgment {key} appears twice")
            scores[key] = _score(record, path)
    series = sorted({key[:4] for key in scores})
    models = {group[0] for group in series}
    rows = [
        (
            *split_seed(model, models),
            *group,
            q.question_id,
            q.category,
            turn,
            scores.get((model, *group, q.question_id, turn)),
        )
        for model, *group in series
        for q in questions
        for turn in range(1, len(q.turns) + 1)
    ]
    columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    return pa.table(
        [pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def _key(record: dict[str, Any], path: Path) -> Key:
    try:
        return (
            record["model"],
            record["judge"][0],
            record.get("repeat", 0),
            record.get("choice", 0),
            record["question_id"],
            record["turn"],
        )
    except (KeyError, IndexError, TypeError) as error:
        raise UserError(f"{path}: not a judgment record of FastChat: {error} is missing") from error


def _score(record: dict[str, Any], path: Path) -> float | None:
    score = record.get("score")
    if not isinstance(score, int | float) or not math.isfinite(score):
        raise UserError(
            f"{path}: question {record['question_id']}: score is {score!r}, not a number "
            f"({NO_RATING} where it is missing)"
        )
    return None if score == NO_RATING else float(score)


def fastchat_tables(records: Iterable[dict[str, Any]]) -> dict[str, list[tuple[str, float]]]:
    """First turn, second turn and average of every model, best first, as show_result prints them.

    Missing scores are left out, and the average pools the rows of both turns: it is not the mean
    of the two turns' means when a turn has more missing scores than the other.
    """
    kept = [r for r in records if r["score"] != NO_RATING]
    return {
        "first_turn": _means([r for r in kept if r["turn"] == 1]),
        "second_turn": _means([r for r in kept if r["turn"] == 2]),
        "average": _means(kept),
    }


def _means(records: list[dict[str, Any]]) -> list[tuple[str, float]]:
    scores: dict[str, list[float]] = {}
    for record in records:
        scores.setdefault(record["model"], []).append(record["score"])
    means = {model: sum(values) / len(values) for model, values in scores.items()}
    return sorted(means.items(), key=lambda item: -item[1])
