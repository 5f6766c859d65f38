"""Win rates against a baseline from FastChat's pairwise records, and what the order shown did."""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fusionchat.errors import UserError
from fusionchat.mt_bench.judging.comparison_records import Compared, read_comparisons
from fusionchat.mt_bench.record_fields import check_names, check_numbers, judge_name
from fusionchat.replicates import split_replicate
from fusionchat.scores.comparisons import score
from fusionchat.scores.metrics import Column, Measured, Metric, column
from fusionchat.scores.statistics import holm

WINNERS = ("model_1", "model_2", "tie", "error")
WIN_RATE = Metric(
    "win_rate",
    "win %",
    "share of matches won, a tie being half a win",
    "question",
    scale=100.0,
    digits=1,
    bounds=(0.0, 1.0),
    partial=True,
)
Turn = tuple[int, int]  # question and turn
FIELDS = ("question_id", "model_1", "model_2", "g1_winner", "g2_winner", "judge", "turn")


@dataclass(frozen=True)
class Order:
    """Matches with both verdicts, as shares: `alike` in both orders, or the `first` or the `second`
    answer shown wins in both; the rest are a tie in one order only.
    """

    matches: int
    alike: float
    first: float
    second: float


@dataclass(frozen=True)
class WinRate:
    """One model's matches against the baseline, over all its training seeds.

    `rate` counts a tie as half a win; `low` and `high` are its 95% interval over questions and
    seeds; `p` is against a half. `missing` matches lack a verdict in one order at least.
    """

    wins: int
    ties: int
    losses: int
    missing: int
    rate: float
    low: float
    high: float
    p: float
    p_holm: float
    order: Order


def read_matches(path: Path) -> list[dict[str, Any]]:
    """FastChat's pairwise records of one judge and one baseline; others are a `UserError`."""
    return read_comparisons(path, _compared, "judge_pairs")


def _compared(record: dict[str, Any], where: str) -> Compared:
    if lacking := [field for field in FIELDS if field not in record]:
        raise UserError(f"{where}: not a pairwise record of FastChat: {lacking[0]} is missing")
    check_names(record, ("model_1", "model_2"), where)
    check_numbers(record, ("question_id", "turn"), where)
    for field in ("g1_winner", "g2_winner"):
        if record[field] not in WINNERS:
            raise UserError(f"{where}: {field} is {record[field]!r}, none of {WINNERS}")
    key = (record["model_1"], record["question_id"], record["turn"])
    return Compared(key, (judge_name(record, where), _baseline(record)))


def _baseline(record: dict[str, Any]) -> str:
    return split_replicate(record["model_2"])[0]


def points(record: dict[str, Any]) -> float | None:
    """The first model's share of a match's win; None without a verdict in both orders.

    As FastChat decides: a tie where the orders disagree.
    """
    winners = record["g1_winner"], record["g2_winner"]
    if "error" in winners:
        return None
    if winners[0] == "tie" or winners[0] != winners[1]:
        return 0.5
    return 1.0 if winners[0] == "model_1" else 0.0


def order(records: Iterable[dict[str, Any]]) -> Order:
    """What the order of the answers did to the verdicts."""
    pairs = [(r["g1_winner"], r["g2_winner"]) for r in records if points(r) is not None]
    count = len(pairs) or np.nan
    alike = sum(one == two for one, two in pairs)
    return Order(
        len(pairs),
        alike / count,
        pairs.count(("model_1", "model_2")) / count,
        pairs.count(("model_2", "model_1")) / count,
    )


def win_column(records: Iterable[dict[str, Any]]) -> Column:
    """The share of wins as a metric, by question; the baseline itself has a half everywhere.

    Where a model was trained with several seeds, only matches that all of them have count.
    """
    matches = [(r, share) for r in records if (share := points(r)) is not None]
    shares: dict[str, dict[Turn, float]] = {}
    for record, share in matches:
        shares.setdefault(record["model_1"], {})[record["question_id"], record["turn"]] = share
        even = shares.setdefault(_baseline(record), {})
        even[record["question_id"], record["turn"]] = 0.5
    counted: dict[str, set[Turn]] = {}
    for model, turns in shares.items():
        counted.setdefault(split_replicate(model)[0], set(turns)).intersection_update(turns)
    return column(
        WIN_RATE,
        {
            model: _by_question(turns, counted[split_replicate(model)[0]])
            for model, turns in shares.items()
        },
    )


def _by_question(turns: Mapping[Turn, float], counted: Iterable[Turn]) -> dict[Hashable, Measured]:
    totals: dict[Hashable, Measured] = {}
    for question, turn in sorted(counted):
        before = totals.get(question, Measured(0.0, 0.0))
        totals[question] = Measured(before.value + turns[question, turn], before.size + 1.0)
    return totals


def win_rates(records: Sequence[dict[str, Any]]) -> dict[str, WinRate]:
    """Each model's win rate; p-values are Holm-corrected over the models."""
    models: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        models.setdefault(split_replicate(record["model_1"])[0], []).append(record)
    measured = win_column(records)
    p_values = {model: _p(measured, model) for model in models}
    corrected = dict(zip(models, holm(np.array(list(p_values.values()))).tolist(), strict=True))
    rates = {}
    for model, own in models.items():
        one = score(measured, model)
        numbers = (one.mean, one.low, one.high, p_values[model], corrected[model])
        rates[model] = WinRate(*_counts(own), *numbers, order(own))
    return rates


def _p(measured: Column, model: str) -> float:
    """Of a win rate of a half; NaN without matches."""
    return float(measured.estimate(model, 0.5).p[0]) if model in measured.models else math.nan


def _counts(records: Sequence[dict[str, Any]]) -> tuple[int, int, int, int]:
    shares = [points(record) for record in records]
    return shares.count(1.0), shares.count(0.5), shares.count(0.0), shares.count(None)
