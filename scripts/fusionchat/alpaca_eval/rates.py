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
from fusionchat.files import read_numbered_jsonl
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
    records: list[dict[str, Any]] = []
    seen: dict[tuple[str, int], int] = {}
    for number, record in read_numbered_jsonl(path):
        where = f"{path}, line {number}"
        for name in TEXTS:
            if not isinstance(record.get(name), str):
                raise UserError(f"{where}: not an annotation of AlpacaEval: {name} is no text")
        if not isinstance(record.get("index"), int):
            raise UserError(f"{where}: index is not the question's number")
        key = (record["generator_2"], record["index"])
        if key in seen:
            raise UserError(f"{where}: this comparison appears twice, first in line {seen[key]}")
        seen[key] = number
        value = record.get("preference")
        if value is not None and not (isinstance(value, int | float) and _on_scale(value)):
            raise UserError(f"{where}: preference is {value!r}, not a number from 1 to 2")
        records.append(record)
        if any(record[name] != records[0][name] for name in ("annotator", "generator_1")):
            raise UserError(f"{where}: another judge or baseline than in the first line")
    if not records:
        raise UserError(f"{path}: holds no annotations; make it with judge_alpaca")
    return records


def _on_scale(value: float) -> bool:
    """From 1 to 2; 0 is AlpacaEval's old sign for a tie."""
    return 1 <= value <= 2 or value == 0


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
