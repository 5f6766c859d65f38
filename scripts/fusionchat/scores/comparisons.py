"""Comparisons of models, paired by question and training seed, Holm-corrected over a family."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from fusionchat.scores.benchmark import Benchmark
from fusionchat.scores.statistics import (
    DRAWS,
    TTest,
    detectable_difference,
    holm,
    interval,
    stratified_mean,
    t_test,
)

SCALE = (1.0, 10.0)
Key = TypeVar("Key")


@dataclass(frozen=True)
class Score:
    """A mean score with its 95% interval; NaN bounds where all scores are equal."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Average of one model minus that of another, paired by question and training seed.

    `p_holm` is `p` corrected over all comparisons made in one call; `error` is the standard error,
    `training_error` its part that more questions cannot lower; `detectable` is the true difference
    that these questions and seeds would find with 80% power.
    """

    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    error: float
    training_error: float
    detectable: float


def score_models(
    benchmark: Benchmark, models: Sequence[str], *, turn: int | None = None, draws: int = DRAWS
) -> dict[str, dict[str, Score]]:
    """The category scores and the "average" of each model, with intervals."""
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


def compare(benchmark: Benchmark, models: Sequence[str], reference: str) -> dict[str, Comparison]:
    """Each model against `reference`; the family of Holm's correction is `models`."""
    return compare_pairs(benchmark, {model: (model, reference) for model in models})


def compare_pairs(
    benchmark: Benchmark, pairs: Mapping[Key, tuple[str, str]]
) -> dict[Key, Comparison]:
    """The first model of each pair against the second; all pairs are one family of Holm's."""
    tests = {
        key: t_test(benchmark.differences(*pair)[:, :, None], benchmark.strata)
        for key, pair in pairs.items()
    }
    corrected = holm(np.asarray([float(test.p[0]) for test in tests.values()]))
    return {
        key: comparison(test, p)
        for (key, test), p in zip(tests.items(), corrected.tolist(), strict=True)
    }


def comparison(test: TTest, p_holm: float) -> Comparison:
    """A test of one column with its corrected p-value."""
    estimate = test.estimate
    error = float(estimate.error[0]) if np.isfinite(test.low[0]) else float("nan")
    return Comparison(
        float(test.mean[0]),
        float(test.low[0]),
        float(test.high[0]),
        float(test.p[0]),
        p_holm,
        error,
        float(estimate.training_error[0]),
        detectable_difference(error, float(estimate.freedom[0])),
    )


def best(benchmark: Benchmark, models: Sequence[str]) -> str:
    """The model with the highest Average; the first of equal ones."""
    means = [_average(benchmark, model) for model in models]
    return models[int(np.argmax(np.where(np.isnan(means), -np.inf, means)))]


def _average(benchmark: Benchmark, model: str) -> float:
    values = benchmark.question_means(model)[:, :, None]
    return float(stratified_mean(values, benchmark.strata).mean[0])
