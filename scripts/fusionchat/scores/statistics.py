"""Intervals and tests for benchmark averages over questions and training seeds.

The Average of MT-Bench is the mean of the category means, a stratified mean. Its uncertainty is
that of the questions, drawn anew within their category (each question's score already carries the
noise of its answer and its judgment), and, where a model was trained with several seeds, that of
training. All functions take many columns (models, or simulated benchmarks): values are
[questions, seeds, M], or [questions, M] for a single seed.

Scores get a studentised bootstrap, which holds its level beside the ceiling of the scale. Paired
differences get a t test, which holds it also where two models answer most questions alike.
"""

import warnings
from dataclasses import dataclass

import numpy as np

DRAWS = 4999
LEVEL = 0.95
SEED_TERM = 2.0  # weight of the seeds in the degrees of freedom; 1 covers 92% with three seeds
ENDLESS = 1e9  # a studentised draw without any spread


@dataclass(frozen=True)
class Estimate:
    """Stratified mean over all seeds, its standard error and degrees of freedom, each [M].

    `error`^2 is `question_error`^2 + `training_error`^2; the latter is 0 for a single seed.
    `seeds` is their number, `seed_error` the standard error by the spread of their averages alone.
    """

    mean: np.ndarray
    error: np.ndarray
    freedom: np.ndarray
    question_error: np.ndarray
    question_freedom: np.ndarray
    training_error: np.ndarray
    seeds: int
    seed_error: np.ndarray


@dataclass(frozen=True)
class Interval:
    """A mean with its interval, each [M]; NaN bounds mean that there is no interval."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class TTest(Interval):
    """The same with the two-sided p-value of a zero mean [M] and what it was computed from."""

    p: np.ndarray
    estimate: Estimate


def stratified_mean(values: np.ndarray, strata: np.ndarray) -> Estimate:
    """The mean of the category means of `values` [Q, S, M], over seeds; NaN questions are left out.

    Questions and seeds are crossed: Var = V_questions + max(0, V_seeds - V_interaction), where
    V_questions is that of the questions' means over the seeds and V_seeds that of the seeds'
    averages; both hold the interaction (a question that only one seed gets right), which must
    count once. Degrees of freedom: Satterthwaite's, and never fewer than those of the seeds.
    """
    values = _complete(values)
    groups = [values[strata == stratum] for stratum in np.unique(strata)]
    moments = [_moments(group.mean(axis=1)) for group in groups]
    count, mean, variance = (np.stack(part) for part in zip(*moments, strict=True))
    parts = variance / count / len(groups) ** 2
    questions = parts.sum(axis=0)
    spread = (parts**2 / np.maximum(count - 1, 1)).sum(axis=0)
    between, training = _seed_variance(groups)
    total = questions + training
    count_seeds = values.shape[1]
    of_seeds = np.where(training > 0, between, 0.0) ** 2 / max(count_seeds - 1, 1)
    return Estimate(
        mean.mean(axis=0),
        np.sqrt(total),
        np.maximum(_ratio(total**2, spread + SEED_TERM * of_seeds), count_seeds - 1),
        np.sqrt(questions),
        _ratio(questions**2, spread),
        np.sqrt(training),
        count_seeds,
        np.sqrt(between),
    )


def _complete(values: np.ndarray) -> np.ndarray:
    """`values` as [Q, S, M], NaN for all seeds where a question lacks the score of one."""
    values = values[:, None] if values.ndim == 2 else values
    return np.where(np.isnan(values).any(axis=1, keepdims=True), np.nan, values)


def _seed_variance(groups: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Variance of the mean by the seeds' averages, and that by training alone, each [M]."""
    seeds, columns = groups[0].shape[1:]
    if seeds == 1:
        return np.zeros(columns), np.zeros(columns)
    with np.errstate(invalid="ignore", divide="ignore"):
        cells = [np.nanmean(group, axis=0) for group in groups]  # [S, M] each
        averages = np.mean(cells, axis=0)
        between = averages.var(axis=0, ddof=1) / seeds
        interaction = np.zeros(columns)
        for group, cell in zip(groups, cells, strict=True):
            rest = group - group.mean(axis=1, keepdims=True) - (cell - cell.mean(axis=0))
            count = (~np.isnan(group[:, 0])).sum(axis=0)
            square = np.nansum(rest**2, axis=(0, 1)) / ((count - 1) * (seeds - 1))
            interaction += square / (count * seeds) / len(groups) ** 2
    return between, np.maximum(0.0, between - interaction)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)


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
    """Studentised bootstrap interval of the stratified mean of `values` [Q, S, M].

    Questions are drawn with replacement within their category; the same draws serve all columns.
    Where so many draws have equal scores that a quantile is infinite (a constant row with two
    outliers), it is replaced as `_rare` says. Several seeds widen the interval as that of t.
    `bounds` clips it to the possible values. Columns without any spread, or with a category of
    fewer than two values, get no interval.
    """
    from scipy.special import stdtrit

    values = _complete(values)
    estimate = stratified_mean(values, strata)
    ratios = _studentised_draws(values.mean(axis=1), strata, draws, seed)
    student = stdtrit(estimate.question_freedom, (1 + level) / 2)
    high, low = np.quantile(ratios, [(1 + level) / 2, (1 - level) / 2], axis=0)
    below, above = _rare(values.mean(axis=1), strata, estimate, student)
    high, low = np.where(high < ENDLESS, high, below), np.where(-low < ENDLESS, low, -above)
    known = estimate.question_error > _rounding(values)
    all_sources = stdtrit(estimate.freedom, (1 + level) / 2) * estimate.error
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = np.where(known, all_sources / student, all_sources)
    high, low = (np.where(known, bound, sign) for bound, sign in ((high, 1.0), (low, -1.0)))
    ends = estimate.mean - high * unit, estimate.mean - low * unit
    if bounds is not None:
        ends = np.clip(ends[0], *bounds), np.clip(ends[1], *bounds)
    varied = estimate.error > _rounding(values)
    return Interval(estimate.mean, *(np.where(varied, end, np.nan) for end in ends))


def _rare(
    values: np.ndarray, strata: np.ndarray, estimate: Estimate, student: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many standard errors the interval of a nearly constant row reaches down and up, each [M].

    The variance of rare outliers grows with their rate, as a Poisson count's does: Wilson's bound,
    which solves (mean - m)^2 = t^2 V m / mean for their share m of the mean. On the other side, and
    where outliers cancel each other, Student's t.
    """
    usual = np.stack([_median(values[strata == stratum]) for stratum in np.unique(strata)])
    gap = estimate.mean - usual.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        outliers = np.abs(gap) / estimate.question_error
        wilson = student**2 / outliers / 2 + student * np.sqrt(1 + (student / outliers / 2) ** 2)
    wilson = np.where(np.isfinite(wilson), wilson, student)
    return np.where(gap < 0, wilson, student), np.where(gap > 0, wilson, student)


def _median(values: np.ndarray) -> np.ndarray:
    """The median of what is not NaN in each column; NaN where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmedian(values, axis=0)


def t_test(values: np.ndarray, strata: np.ndarray, level: float = LEVEL) -> TTest:
    """Welch's t test of the stratified mean of `values` [Q, S, M] against zero, with its interval.

    For paired differences. Where two models answer alike most of these are 0, and the others lie in
    a few categories: Satterthwaite's degrees of freedom allow for that, while resampling would take
    those few for all that can occur. With several seeds p is at least that of the seeds' averages
    alone: far out in the tail, where Holm's correction looks, the joint test rejects too often.
    Without any spread, or with a category of fewer than two values, bounds and p are NaN; p is 1
    where all values are 0.
    """
    from scipy.special import stdtr, stdtrit

    estimate = stratified_mean(values, strata)
    tiny = _rounding(values)
    known = estimate.error > tiny
    error, freedom = (np.where(known, x, np.nan) for x in (estimate.error, estimate.freedom))
    half = stdtrit(freedom, (1 + level) / 2) * error
    p = 2 * stdtr(freedom, -np.abs(estimate.mean) / error)
    if estimate.seeds > 1:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.abs(estimate.mean) / estimate.seed_error
        p = np.where(known, np.maximum(p, 2 * stdtr(estimate.seeds - 1, -ratio)), p)
    nothing = (estimate.error <= tiny) & (np.abs(estimate.mean) <= tiny)
    low, high = estimate.mean - half, estimate.mean + half
    return TTest(estimate.mean, low, high, np.where(nothing, 1.0, p), estimate)


def _rounding(values: np.ndarray) -> np.ndarray:
    """Below this a standard error is rounding of equal values [M]."""
    with np.errstate(all="ignore"):
        largest = np.nanmax(np.abs(values), axis=tuple(range(values.ndim - 1)), initial=0.0)
        return 1e-9 * np.maximum(largest, 1.0)


def _studentised_draws(values: np.ndarray, strata: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """(mean* - mean) / error* of resampled benchmarks [draws, M]; infinite where error* is 0."""
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
    return np.clip(ratios, -ENDLESS, ENDLESS)


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


def ratio_test(totals: np.ndarray, sizes: np.ndarray, level: float = LEVEL) -> TTest:
    """Sum of `totals` [D, S] over sum of `sizes` [D], mean over seeds, as a t test of one column.

    The held-out negative log-likelihood is such a ratio: nats over response tokens of D dialogues.
    The variance is the linearised one of a ratio estimator, over dialogues and seeds.
    """
    totals = totals[:, None] if totals.ndim == 1 else totals
    ratio = totals.sum() / sizes.sum() / totals.shape[1]
    linear = ratio + (totals - ratio * sizes[:, None]) * len(sizes) / sizes.sum()
    return t_test(linear[:, :, None], np.zeros(len(sizes), int), level)


def detectable_difference(
    error: float, freedom: float, power: float = 0.8, level: float = LEVEL
) -> float:
    """The true difference that a two-sided test with this standard error finds with `power`."""
    from scipy.special import stdtrit

    return float((stdtrit(freedom, (1 + level) / 2) + stdtrit(freedom, power)) * error)
