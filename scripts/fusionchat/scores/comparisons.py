"""Scores and comparisons of models by any metric, Holm-corrected over a family."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from fusionchat.scores.benchmark import SCALE, Benchmark
from fusionchat.scores.metrics import Column, Paired
from fusionchat.scores.statistics import (
    DRAWS,
    detectable_difference,
    holm,
    interval,
    stratified_mean,
)

Key = TypeVar("Key")


@dataclass(frozen=True)
class Score:
    """A score with its 95% interval; NaN bounds where all values are equal, NaN without values."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Score of one model minus that of another, paired by the metric's unit and training seed.

    `p_holm` is `p`, of `test`, corrected over its family; `error` is the standard error,
    `training_error` its part that more units cannot lower; `detectable` is the true difference
    that these units and seeds would find with 80% power.
    """

    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    error: float
    training_error: float
    detectable: float
    test: str = "paired t"


def score(column: Column, model: str) -> Score:
    """A model's score with its t interval; NaN for a model that has no values."""
    if model not in column.models:
        return Score(np.nan, np.nan, np.nan)
    test = column.estimate(model)
    ends = test.low[0], test.high[0]
    low, high = np.clip(ends, *column.metric.bounds) if column.metric.bounds else ends
    return Score(float(test.mean[0]), float(low), float(high))


def score_models(
    benchmark: Benchmark, models: Sequence[str], *, turn: int | None = None, draws: int = DRAWS
) -> dict[str, dict[str, Score]]:
    """The category ratings and their "average" of each model, with bootstrap intervals."""
    scored: dict[str, dict[str, Score]] = {model: {} for model in models}
    means = {model: benchmark.question_means(model, turn) for model in models}
    for seeds in sorted({values.shape[1] for values in means.values()}):
        alike = [model for model in models if means[model].shape[1] == seeds]
        values = np.stack([means[model] for model in alike], axis=2)
        for index, category in enumerate((*benchmark.categories, "average")):
            chosen = benchmark.strata == index if category != "average" else slice(None)
            strata = benchmark.strata[chosen]
            result = interval(values[chosen], strata, bounds=SCALE, draws=draws)
            for i, model in enumerate(alike):
                numbers = (result.mean[i], result.low[i], result.high[i])
                scored[model][category] = Score(*map(float, numbers))
    return scored


def compare(column: Column, models: Sequence[str], reference: str) -> dict[str, Comparison]:
    """Each model against `reference`; the family of Holm's correction is `models`."""
    return compare_pairs(column, {model: (model, reference) for model in models})


def compare_pairs(column: Column, pairs: Mapping[Key, tuple[str, str]]) -> dict[Key, Comparison]:
    """The first model of each pair against the second; all pairs are one family of Holm's.

    Pairs that share no unit are left out.
    """
    results = {key: column.paired(*pair) for key, pair in pairs.items()}
    return corrected({key: paired for key, paired in results.items() if paired is not None})


def corrected(results: Mapping[Key, Paired]) -> dict[Key, Comparison]:
    """Comparisons, of one metric or several, as one family of Holm's."""
    p_values = holm(np.asarray([paired.p for paired in results.values()]))
    return {
        key: replace(comparison(paired), p_holm=p)
        for (key, paired), p in zip(results.items(), p_values.tolist(), strict=True)
    }


def comparison(paired: Paired) -> Comparison:
    """A paired test on its own, in numbers."""
    test, estimate = paired.estimate, paired.estimate.estimate
    error = float(estimate.error[0]) if np.isfinite(test.low[0]) else float("nan")
    return Comparison(
        float(test.mean[0]),
        float(test.low[0]),
        float(test.high[0]),
        paired.p,
        paired.p,
        error,
        float(estimate.training_error[0]),
        detectable_difference(error, float(estimate.freedom[0])),
        paired.test,
    )


def best(benchmark: Benchmark, models: Sequence[str]) -> str:
    """The model with the highest Average; the first of equal ones."""
    means = [_average(benchmark, model) for model in models]
    return models[int(np.argmax(np.where(np.isnan(means), -np.inf, means)))]


def _average(benchmark: Benchmark, model: str) -> float:
    values = benchmark.question_means(model)[:, :, None]
    return float(stratified_mean(values, benchmark.strata).mean[0])
