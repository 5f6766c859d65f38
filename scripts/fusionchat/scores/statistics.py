"""Intervals and tests for benchmark averages: questions are drawn anew within their category.

The Average of MT-Bench is the mean of the category means, a stratified mean. Its uncertainty is
that of the questions: each question's score already carries the noise of its answer and its
judgment. All functions take many columns (models, or simulated benchmarks): values are [Q, M].

Scores get a studentised bootstrap, which holds its level beside the ceiling of the scale. Paired
differences get a t test, which holds it also where two models answer most questions alike.
"""

from dataclasses import dataclass

import numpy as np

DRAWS = 4999
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """Stratified mean, standard error and Satterthwaite degrees of freedom, each [M]."""

    mean: np.ndarray
    error: np.ndarray
    freedom: np.ndarray


@dataclass(frozen=True)
class Interval:
    """A mean with its interval, each [M]; NaN bounds mean that there is no interval."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class TTest(Interval):
    """The same with standard error, degrees of freedom and the two-sided p-value of a zero mean."""

    error: np.ndarray
    freedom: np.ndarray
    p: np.ndarray


def stratified_mean(values: np.ndarray, strata: np.ndarray) -> Estimate:
    """The mean of the category means of `values` [Q, M]; NaN entries are left out."""
    moments = [_moments(values[strata == s]) for s in np.unique(strata)]
    count, mean, variance = (np.stack(part) for part in zip(*moments, strict=True))
    parts = variance / count / len(moments) ** 2
    error = np.sqrt(parts.sum(axis=0))
    spread = (parts**2 / np.maximum(count - 1, 1)).sum(axis=0)
    freedom = np.divide(error**4, spread, out=np.full(error.shape, np.nan), where=spread > 0)
    return Estimate(mean.mean(axis=0), error, freedom)


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, mean and sample variance of each column; NaN variance below two values."""
    present = ~np.isnan(values)
    count = present.sum(axis=0).astype(float)
    filled = np.where(present, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(axis=0) / count
        squares = (np.where(present, values - mean, 0.0) ** 2).sum(axis=0)
        return count, mean, np.where(count > 1, squares / (count - 1), np.nan)


def interval(
    values: np.ndarray,
    strata: np.ndarray,
    *,
    bounds: tuple[float, float] | None = None,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Studentised bootstrap interval of the stratified mean of `values` [Q, M].

    Questions are drawn with replacement within their category; the same draws serve all columns.
    `bounds` clips the interval to the possible values. Columns without any spread, or with a
    category of fewer than two values, get no interval.
    """
    estimate = stratified_mean(values, strata)
    ratios = _studentised_draws(values, strata, draws, seed)
    upper, lower = np.quantile(ratios, [(1 + level) / 2, (1 - level) / 2], axis=0)
    low, high = (estimate.mean - q * estimate.error for q in (upper, lower))
    if bounds is not None:
        low, high = np.clip(low, *bounds), np.clip(high, *bounds)
    known = estimate.error > _rounding(values)
    low, high = (np.where(known, bound, np.nan) for bound in (low, high))
    return Interval(estimate.mean, low, high)


def t_test(values: np.ndarray, strata: np.ndarray, level: float = LEVEL) -> TTest:
    """Welch's t test of the stratified mean of `values` [Q, M] against zero, with its interval.

    For paired differences. Most of them are 0 where two models answer alike; the few others lie in
    few categories, which Satterthwaite's degrees of freedom count, while resampling takes them for
    all that there could be. Without any spread, or with a category of fewer than two values, bounds
    and p are NaN; p is 1 where all values are 0.
    """
    from scipy.special import stdtr, stdtrit

    estimate = stratified_mean(values, strata)
    known = estimate.error > _rounding(values)
    error, freedom = (np.where(known, x, np.nan) for x in (estimate.error, estimate.freedom))
    half = stdtrit(freedom, (1 + level) / 2) * error
    p = 2 * stdtr(freedom, -np.abs(estimate.mean) / error)
    bounds = estimate.mean - half, estimate.mean + half
    nothing = (estimate.error <= _rounding(values)) & (np.abs(estimate.mean) <= _rounding(values))
    return TTest(estimate.mean, *bounds, error, freedom, np.where(nothing, 1.0, p))


def _rounding(values: np.ndarray) -> np.ndarray:
    """Below this a standard error is rounding of equal values."""
    with np.errstate(all="ignore"):
        return 1e-9 * np.maximum(np.nanmax(np.abs(values), axis=0, initial=0.0), 1.0)


def _studentised_draws(values: np.ndarray, strata: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """(mean* - mean) / error* of resampled benchmarks [draws, M]; huge where error* is 0."""
    generator = np.random.default_rng(seed)
    centred = values - stratum_means(values, strata)
    shift = np.zeros((draws, values.shape[1]))
    variance = np.zeros_like(shift)
    groups = np.unique(strata)
    for stratum in groups:
        part = centred[strata == stratum]
        counts = generator.multinomial(len(part), np.full(len(part), 1 / len(part)), size=draws)
        counts = counts.astype(np.float64)
        present = ~np.isnan(part)
        part = np.where(present, part, 0.0)
        size = np.full(shift.shape, float(len(part))) if present.all() else counts @ present
        size = np.maximum(size, 2.0)
        total, squares = counts @ part, counts @ part**2
        shift += total / size / len(groups)
        spread = np.maximum(squares - total**2 / size, 0.0)
        variance += spread / (size - 1) / size / len(groups) ** 2
    tiny = _rounding(values)
    error = np.sqrt(variance)
    flat = np.where(np.abs(shift) > tiny, np.copysign(np.inf, shift), 0.0)
    ratios = np.divide(shift, error, out=flat, where=error > tiny)
    return np.clip(ratios, -1e9, 1e9)


def stratum_means(values: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Each entry's category mean, shaped like `values` [Q, M]."""
    result = np.empty_like(values, dtype=np.float64)
    for stratum in np.unique(strata):
        result[strata == stratum] = _moments(values[strata == stratum])[1]
    return result


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment of a family of p-values [M]; NaN entries do not count."""
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return adjusted


def ratio_interval(
    totals: np.ndarray, sizes: np.ndarray, level: float = LEVEL
) -> tuple[float, float, float]:
    """Sum of `totals` over sum of `sizes`, both [D], with a t interval over the D dialogues.

    The held-out negative log-likelihood is such a ratio: nats over response tokens. The variance is
    the linearised one of a ratio estimator.
    """
    from scipy.special import stdtrit

    ratio = totals.sum() / sizes.sum()
    count = len(totals)
    if count < 2:
        return float(ratio), float("nan"), float("nan")
    residuals = totals - ratio * sizes
    error = np.sqrt(count / (count - 1) * (residuals**2).sum()) / sizes.sum()
    half = stdtrit(count - 1, (1 + level) / 2) * error
    return float(ratio), float(ratio - half), float(ratio + half)


def detectable_difference(
    error: float, freedom: float, power: float = 0.8, level: float = LEVEL
) -> float:
    """The true difference that a two-sided test with this standard error finds with `power`."""
    from scipy.special import stdtrit

    return float((stdtrit(freedom, (1 + level) / 2) + stdtrit(freedom, power)) * error)
