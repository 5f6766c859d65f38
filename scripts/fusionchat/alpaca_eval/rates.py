"""Raw and length-controlled win rates of every model from AlpacaEval's annotations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fusionchat.alpaca_eval.data import Gamed
from fusionchat.alpaca_eval.length_control import Rate, length_controlled
from fusionchat.errors import UserError
from fusionchat.files import read_numbered_jsonl
from fusionchat.scores.statistics import t_test

TEXTS = ("output_1", "output_2", "generator_1", "generator_2", "annotator", "instruction")


@dataclass(frozen=True)
class ModelRates:
    """One model against the baseline: its rates, mean length in characters, and what is missing."""

    model: str
    judged: int
    missing: int
    raw: Rate
    controlled: Rate
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


def model_rates(records: Sequence[dict[str, Any]], gamed: Gamed) -> dict[str, ModelRates]:
    """The rates of each model, in the order of the records."""
    models: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        models.setdefault(record["generator_2"], []).append(record)
    return {model: _rates(model, own, gamed) for model, own in models.items()}


def _rates(model: str, records: list[dict[str, Any]], gamed: Gamed) -> ModelRates:
    if unknown := [r["index"] for r in records if r["index"] not in gamed.of_question]:
        raise UserError(f"question {unknown[0]}: its difficulty is not in the file of --gamed")
    values = [math.nan if r.get("preference") is None else r["preference"] for r in records]
    shares = np.array([0.5 if value == 0 else value - 1.0 for value in values])
    lengths = np.array([[len(r["output_1"]), len(r["output_2"])] for r in records], float)
    judged = ~np.isnan(shares)
    if not judged.any():
        nothing = Rate(math.nan, math.nan, math.nan)
        return ModelRates(model, 0, len(records), nothing, nothing, float(lengths[:, 1].mean()))
    test = t_test(shares[judged, None], np.zeros(int(judged.sum()), int))
    low, high = np.clip([test.low[0], test.high[0]], 0.0, 1.0)
    raw = Rate(float(test.mean[0]), float(low), float(high))
    if model == records[0]["generator_1"]:
        controlled = Rate(0.5, math.nan, math.nan)
    else:
        difficulty = np.array([gamed.of_question[r["index"]] for r in records])
        controlled = length_controlled(shares, lengths, difficulty, gamed)
    missing = int((~judged).sum())
    return ModelRates(
        model, int(judged.sum()), missing, raw, controlled, float(lengths[:, 1].mean())
    )
