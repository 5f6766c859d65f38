"""Raw and length-controlled win rates of every model from AlpacaEval's annotations."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fusionchat.alpaca_eval.data import Gamed
from fusionchat.alpaca_eval.length_control import length_controlled
from fusionchat.errors import UserError
from fusionchat.mt_bench.judging.comparison_records import Compared, read_comparisons
from fusionchat.mt_bench.record_fields import is_number
from fusionchat.scores.metrics import Column, Measured, Metric, column

TEXTS = ("output_1", "output_2", "generator_1", "generator_2", "annotator", "instruction")


RAW = Metric(
    *("wr", "WR %", "win rate against AlpacaEval's baseline", "question"),
    scale=100.0,
    bounds=(0.0, 1.0),
    partial=True,
)
CONTROLLED = replace(
    RAW, name="lc", label="LC %", about="the same with the answers' length controlled for"
)


@dataclass(frozen=True)
class Answers:
    """What was judged: answers with and without a judgment, and their mean characters."""

    judged: int
    missing: int
    length: float


def read_annotations(path: Path) -> list[dict[str, Any]]:
    """Annotations of one judge and one baseline; anything else is a `UserError`."""
    return read_comparisons(path, _compared, "judge_alpaca")


def _compared(record: dict[str, Any], where: str) -> Compared:
    for name in TEXTS:
        if not isinstance(record.get(name), str):
            raise UserError(f"{where}: not an annotation of AlpacaEval: {name} is no text")
    if not is_number(record.get("index")):
        raise UserError(f"{where}: index is not the question's number")
    value = record.get("preference")
    if value is not None and not _on_scale(value):
        raise UserError(f"{where}: preference is {value!r}, not a number from 1 to 2")
    against = record["annotator"], record["generator_1"]
    return Compared((record["generator_2"], record["index"]), against)


def _on_scale(value: Any) -> bool:
    """A number from 1 to 2; 0 is AlpacaEval's old sign for a tie."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and bool(1 <= value <= 2 or value == 0)


def by_model(records: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The records of each model, in the order of the records."""
    models: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        models.setdefault(record["generator_2"], []).append(record)
    return models


def answers(records: Sequence[dict[str, Any]]) -> Answers:
    """The counts of one model's records."""
    missing = sum(record.get("preference") is None for record in records)
    length = float(np.mean([len(record["output_2"]) for record in records]))
    return Answers(len(records) - missing, missing, length)


def rate_columns(records: Sequence[dict[str, Any]], gamed: Gamed) -> list[Column]:
    """The raw and the length-controlled win rate as metrics, by question."""
    raw: dict[str, dict[Hashable, Measured]] = {}
    controlled: dict[str, dict[Hashable, Measured]] = {}
    for model, answered in by_model(records).items():
        shares = np.array([_share(record) for record in answered])
        if np.isnan(shares).all():
            continue
        raw[model] = _by_question(answered, shares)
        controlled[model] = _by_question(answered, _controlled(answered, shares, gamed))
    return [column(RAW, raw), column(CONTROLLED, controlled)]


def _share(record: dict[str, Any]) -> float:
    value = record.get("preference")
    return math.nan if value is None else 0.5 if value == 0 else value - 1.0


def _controlled(records: list[dict[str, Any]], shares: np.ndarray, gamed: Gamed) -> np.ndarray:
    if unknown := [r["index"] for r in records if r["index"] not in gamed.of_question]:
        raise UserError(f"question {unknown[0]}: its difficulty is not in the file of --gamed")
    if records[0]["generator_2"] == records[0]["generator_1"]:
        return np.full(len(records), 0.5)
    lengths = np.array([[len(r["output_1"]), len(r["output_2"])] for r in records], float)
    difficulty = np.array([gamed.of_question[r["index"]] for r in records])
    return length_controlled(shares, lengths, difficulty, gamed)


def _by_question(records: Sequence[dict[str, Any]], values: np.ndarray) -> dict[Hashable, Measured]:
    return {r["index"]: Measured(float(v)) for r, v in zip(records, values, strict=True)}
