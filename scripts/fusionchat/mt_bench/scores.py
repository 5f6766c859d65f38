"""Scores as a table, one row a judgment, and FastChat's summaries of it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from fusionchat.errors import UserError
from fusionchat.files import read_numbered_jsonl
from fusionchat.mt_bench.judging.ratings import HIGHEST, LOWEST, NO_RATING, is_valid
from fusionchat.mt_bench.questions import Question
from fusionchat.mt_bench.record_fields import check_names, check_numbers, judge_name
from fusionchat.replicates import split_seed

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


class Judgment(NamedTuple):
    """A record of a judgment file: where it stands, what it judges, and its score if it has one."""

    where: str
    key: Key
    score: float | None
    record: dict[str, Any]


def read_scores(files: Iterable[Path], questions: Sequence[Question]) -> pa.Table:
    """One row for every model, judge, repeat, choice, question and turn; missing scores are null.

    Records of `clm-seed2` are seed 2 of the model `clm`, where there is one.
    A judgment that is not in the files is a row without score too: nothing is dropped. The same
    judgment twice, one of a turn that is not in the list, or a score off the scale is a `UserError`
    that names the line.
    """
    turns = {q.question_id: len(q.turns) for q in questions}
    scores: dict[Key, float | None] = {}
    for where, key, score, _ in read_judgments(files):
        _check_turn(key, turns, where)
        scores[key] = score
    series = sorted({key[:4] for key in scores})
    models = {model for model, *_ in series}
    rows = [
        (
            *split_seed(model, models),
            judge,
            repeat,
            choice,
            q.question_id,
            q.category,
            turn,
            scores.get((model, judge, repeat, choice, q.question_id, turn)),
        )
        for model, judge, repeat, choice in series
        for q in questions
        for turn in range(1, len(q.turns) + 1)
    ]
    columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    return pa.table(
        [pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def read_judgments(paths: Iterable[Path]) -> list[Judgment]:
    """The judgments of files in FastChat's form, each of which is there once."""
    judgments: dict[Key, Judgment] = {}
    for judgment in (one for path in paths for one in _read_file(path)):
        first = judgments.setdefault(judgment.key, judgment)
        if first is not judgment:
            raise UserError(
                f"{judgment.where}: this judgment appears twice, first in {first.where}"
            )
    return list(judgments.values())


def _read_file(path: Path) -> list[Judgment]:
    """A file without any judgment is a `UserError`."""
    judgments = []
    for number, record in read_numbered_jsonl(path):
        where = f"{path}, line {number}"
        key = judgment_key(record, where)
        judgments.append(Judgment(where, key, _score(record, where), record))
    if not judgments:
        raise UserError(f"{path} holds no judgments; make it with judge")
    return judgments


def judgment_key(record: dict[str, Any], where: str) -> Key:
    """Model, judge, repeat, choice, question and turn of FastChat's judgment record."""
    for field in ("model", "judge", "question_id", "turn"):
        if field not in record:
            raise UserError(f"{where}: not a judgment record of FastChat: {field} is missing")
    judge = judge_name(record, where)
    check_names(record, ("model",), where)
    numbers = {"repeat": record.get("repeat", 0), "choice": record.get("choice", 0)}
    numbers |= {"question_id": record["question_id"], "turn": record["turn"]}
    check_numbers(numbers, tuple(numbers), where)
    return (record["model"], judge, *numbers.values())


def _check_turn(key: Key, turns: Mapping[int, int], where: str) -> None:
    *_, question, turn = key
    if question not in turns:
        raise UserError(f"{where}: question {question} is not in the questions file")
    if not 1 <= turn <= turns[question]:
        raise UserError(
            f"{where}: question {question} has {turns[question]} turns, and this is turn {turn}"
        )


def _score(record: dict[str, Any], where: str) -> float | None:
    score = record.get("score")
    if isinstance(score, int | float) and not isinstance(score, bool):
        if score == NO_RATING:
            return None
        if is_valid(score):
            return float(score)
    raise UserError(
        f"{where}: question {record['question_id']}: score is {score!r}, not a number from "
        f"{LOWEST} to {HIGHEST} ({NO_RATING} where it is missing)"
    )


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
