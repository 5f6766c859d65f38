"""How far judges agree with each other, and with themselves when they are asked again."""

import itertools
import warnings
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import stats

from fusionchat.replicates import FIRST

Rater = tuple[str, int]
Ratings = dict[tuple[Any, ...], float | None]
ITEM = ("model", "seed", "choice", "question_id", "turn")
NEEDED = ("judge", "repeat", "model", "choice", "question_id", "turn", "score")

COLUMNS = (
    *("judge_a", "repeat_a", "judge_b", "repeat_b", "rated", "missing", "exact", "within_one"),
    *("mean_difference", "spearman", "kendall", "model_spearman"),
)


def agreement(scores: pa.Table) -> list[dict[str, Any]]:
    """One row for every pair of raters (judge, repeat) of a table of scores.

    `exact` and `within_one`: share of the answers that both rated with equal ratings, or ratings
    at most 1 apart. `spearman` and `kendall`: rank correlation over those answers;
    `model_spearman`: over the models' mean scores. A correlation that is not defined (all
    ratings of a rater equal, fewer than two answers or models) is None. `missing` counts the
    answers that only one of the two rated, or neither.
    """
    raters: dict[Rater, Ratings] = {}
    for row in scores.to_pylist():
        rater = (row["judge"], row["repeat"])
        raters.setdefault(rater, {})[tuple(row.get(name, FIRST) for name in ITEM)] = row["score"]
    pairs = itertools.combinations(sorted(raters), 2)
    return [_compare(one, raters[one], two, raters[two]) for one, two in pairs]


def _compare(one: Rater, first: Ratings, two: Rater, second: Ratings) -> dict[str, Any]:
    items = sorted(first.keys() | second.keys())
    rated = [i for i in items if first.get(i) is not None and second.get(i) is not None]
    a = np.array([first[i] for i in rated])
    b = np.array([second[i] for i in rated])
    models = sorted({i[:2] for i in rated})
    means = [
        [np.mean([side[i] for i in rated if i[:2] == model]) for model in models]
        for side in (first, second)
    ]
    return {
        "judge_a": one[0],
        "repeat_a": one[1],
        "judge_b": two[0],
        "repeat_b": two[1],
        "rated": len(rated),
        "missing": len(items) - len(rated),
        "exact": _share(a == b),
        "within_one": _share(np.abs(a - b) <= 1),
        "mean_difference": float(np.mean(a - b)) if rated else None,
        "spearman": _correlation(stats.spearmanr, a, b),
        "kendall": _correlation(stats.kendalltau, a, b),
        "model_spearman": _correlation(stats.spearmanr, *means),
    }


def _share(hits: np.ndarray) -> float | None:
    return float(np.mean(hits)) if len(hits) else None


def _correlation(measure: Any, a: Any, b: Any) -> float | None:
    if len(a) < 2 or len(set(a)) < 2 or len(set(b)) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(measure(a, b).statistic)
