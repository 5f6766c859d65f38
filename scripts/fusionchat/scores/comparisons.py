"""Paired comparisons of models question by question, Holm-corrected over a declared family."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fusionchat.scores.benchmark import Benchmark
from fusionchat.scores.statistics import (
    DRAWS,
    detectable_difference,
    holm,
    interval,
    stratified_mean,
    t_test,
)

SCALE = (1.0, 10.0)


@dataclass(frozen=True)
class Score:
    """A mean score with its 95% interval; NaN bounds where all scores are equal."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Average of one model minus that of another, paired by question.

    `p_holm` is `p` corrected over all comparisons made in one call; `detectable` is the true
    difference that these questions would find with 80% power.
    """

    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    error: float
    detectable: float


def score_models(
    benchmark: Benchmark, models: Sequence[str], *, turn: int | None = None, draws: int = DRAWS
) -> dict[str, dict[str, Score]]:
    """The category scores and the "average" of each model, with intervals."""
    values = benchmark.matrix(models, turn)
    found: dict[str, dict[str, Score]] = {model: {} for model in models}
    for index, category in enumerate((*benchmark.categories, "average")):
        chosen = benchmark.strata == index if category != "average" else slice(None)
        result = interval(values[chosen], benchmark.strata[chosen], bounds=SCALE, draws=draws)
        for i, model in enumerate(models):
            found[model][category] = Score(
                float(result.mean[i]), float(result.low[i]), float(result.high[i])
            )
    return found


def compare(benchmark: Benchmark, models: Sequence[str], reference: str) -> dict[str, Comparison]:
    """Each model against `reference`; the family of Holm's correction is `models`."""
    if not models:
        return {}
    pairs = benchmark.matrix(models) - benchmark.question_means(reference)[:, None]
    found = t_test(pairs, benchmark.strata)
    numbers = (found.mean, found.low, found.high, found.p, holm(found.p), found.error)
    return {
        model: Comparison(
            *(float(number[i]) for number in numbers),
            detectable=detectable_difference(float(found.error[i]), float(found.freedom[i])),
        )
        for i, model in enumerate(models)
    }


def best(benchmark: Benchmark, models: Sequence[str]) -> str:
    """The model with the highest Average; the first of equal ones."""
    means = stratified_mean(benchmark.matrix(models), benchmark.strata).mean
    return models[int(np.argmax(np.where(np.isnan(means), -np.inf, means)))]
