"""A metric is a column: its scale, and how two models are compared by it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fusionchat.scores.statistics import TTest, t_test


@dataclass(frozen=True)
class Metric:
    """What a column holds: values are kept as measured, and a table shows them times `scale`."""

    name: str
    label: str
    scale: float = 1.0


@dataclass(frozen=True)
class Paired:
    """One model minus another: mean, 95% interval and p-value, and the test that gave it."""

    difference: float
    low: float
    high: float
    p: float
    test: Literal["McNemar", "paired t"]


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean of values [D, S] and its standard error, over documents and training seeds."""
    estimate = _t_test(values).estimate
    return float(estimate.mean[0]), float(estimate.error[0])


def _t_test(values: np.ndarray) -> TTest:
    return t_test(values[:, :, None], np.zeros(len(values), int))


def compare_documents(
    one: np.ndarray, other: np.ndarray, seeds: tuple[list[int], list[int]]
) -> Paired:
    """Two models on the same documents, [D, S] each, of which these seeds are paired.

    McNemar's exact test where all values are 0 or 1 and neither was trained with several seeds,
    else the paired t test, whose interval both have.
    """
    ours, theirs = one[:, seeds[0]], other[:, seeds[1]]
    test = _t_test(ours - theirs)
    numbers = (float(test.mean[0]), float(test.low[0]), float(test.high[0]))
    if ours.shape[1] == 1 and np.isin([ours, theirs], (0.0, 1.0)).all():
        return Paired(*numbers, mcnemar(ours[:, 0], theirs[:, 0]), "McNemar")
    return Paired(*numbers, float(test.p[0]), "paired t")


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """Exact two-sided p-value of two columns of 0 and 1: a binomial test of the discordant ones."""
    from scipy.stats import binomtest

    better, worse = int((one > other).sum()), int((one < other).sum())
    return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0
