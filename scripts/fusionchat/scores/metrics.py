"""A metric is a column: its scale and direction, the models' values, and how two are compared."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from fusionchat.errors import UserError
from fusionchat.replicates import paired_seeds, split_seed
from fusionchat.scores.statistics import TTest, ratio_test, t_test


@dataclass(frozen=True)
class Metric:
    """What a column holds: values are kept as measured, and tables show them times `scale`.

    `name` in csv files, `label` over the column, `about` in words. `unit` is what a value was
    measured on, by which two models are paired; empty where values of two models say nothing about
    each other. `better` is 1 where more is better and -1 where less is. `bounds` clip intervals;
    those of differences end where two scores within the bounds can differ no more.
    `partial`: models are paired by the units that both have; otherwise they must have the same.
    `binary`: where all values are 0 or 1, McNemar's exact test gives p.
    """

    name: str
    label: str
    about: str
    unit: str
    better: int = 1
    scale: float = 1.0
    digits: int = 2
    bounds: tuple[float, float] | None = None
    partial: bool = False
    binary: bool = False


class Measured(NamedTuple):
    """A value of one unit; with sizes, the score is the sum of values over that of sizes."""

    value: float
    size: float = 1.0
    stratum: str = ""


@dataclass(frozen=True)
class Values:
    """One model's `values` [U, S] of `units` [U] with each of its training `seeds` [S].

    NaN is a missing value. The score is the mean of the means of the `strata` [U]; where units have
    `sizes` [U], it is the sum of the values over the sum of the sizes.
    """

    units: tuple[Hashable, ...]
    seeds: tuple[int, ...]
    values: np.ndarray
    strata: np.ndarray
    sizes: np.ndarray | None = None


@dataclass(frozen=True)
class Paired:
    """One model minus another, the p-value of no difference, and the name of its test."""

    estimate: TTest
    p: float
    test: str


@dataclass(frozen=True)
class Column:
    """A metric with the values of each model that has them."""

    metric: Metric
    models: Mapping[str, Values]

    def of(self, model: str) -> Values:
        """The model's values; an unknown name is a `UserError` that lists the known ones."""
        if model not in self.models:
            known = ", ".join(self.models)
            raise UserError(f"{self.metric.name}: no values of {model} (there are: {known})")
        return self.models[model]

    def estimate(self, model: str, null: float = 0.0) -> TTest:
        """The model's score minus `null`, with its t interval and its p-value."""
        one = self.of(model)
        shift = null if one.sizes is None else null * one.sizes[:, None]
        return _test(one.values - shift if null else one.values, one.strata, one.sizes)

    def paired(self, model: str, other: str) -> Paired | None:
        """One model minus another by unit and training seed; None where they share no unit."""
        one, two = self.of(model), self.of(other)
        first, second = self._shared(model, other)
        if not first:
            return None
        seeds, matched = paired_seeds(one.seeds, two.seeds)
        ours, theirs = one.values[np.ix_(first, seeds)], two.values[np.ix_(second, matched)]
        sizes = None if one.sizes is None else one.sizes[first]
        test = self._possible(_test(ours - theirs, one.strata[first], sizes))
        binary = self.metric.binary and np.isin([ours, theirs], (0.0, 1.0)).all()
        if binary and ours.shape[1] == 1:
            return Paired(test, mcnemar(ours[:, 0], theirs[:, 0]), "McNemar")
        return Paired(test, float(test.p[0]), "paired t")

    def _possible(self, test: TTest) -> TTest:
        """The interval of a difference, without what no scores within the bounds differ by."""
        if self.metric.bounds is None:
            return test
        most = self.metric.bounds[1] - self.metric.bounds[0]
        return replace(test, low=test.low.clip(-most, most), high=test.high.clip(-most, most))

    def _shared(self, model: str, other: str) -> tuple[list[int], list[int]]:
        """The places of the units, of equal size, that two models share."""
        one, two = (_sized(self.of(name)) for name in (model, other))
        if one != two and not self.metric.partial:
            raise UserError(
                f"{self.metric.name}: {model} and {other} were measured on other "
                f"{self.metric.unit}s; measure them anew"
            )
        places = {unit: place for place, unit in enumerate(two)}
        shared = [(place, places[unit]) for place, unit in enumerate(one) if unit in places]
        return [place for place, _ in shared], [place for _, place in shared]


def _sized(values: Values) -> list[tuple[Hashable, float]]:
    sizes = np.ones(len(values.units)) if values.sizes is None else values.sizes
    return list(zip(values.units, sizes.tolist(), strict=True))


def column(metric: Metric, measured: Mapping[str, Mapping[Any, Measured]]) -> Column:
    """A column from the values of each name by unit; `clm-seed2` is seed 2 of `clm`.

    Of a model with several seeds only the units count that all of them have.
    """
    replicates: dict[str, dict[int, Mapping[Any, Measured]]] = {}
    for name, values in measured.items():
        base, seed = split_seed(name, measured)
        replicates.setdefault(base, {})[seed] = values
    return Column(
        metric, {name: _joined(dict(sorted(seeds.items()))) for name, seeds in replicates.items()}
    )


def _joined(seeds: Mapping[int, Mapping[Any, Measured]]) -> Values:
    first = next(iter(seeds.values()))
    units = tuple(unit for unit in first if all(unit in values for values in seeds.values()))
    values = np.asarray([[values[unit].value for values in seeds.values()] for unit in units])
    strata = np.unique([first[unit].stratum for unit in units], return_inverse=True)[1]
    sizes = np.asarray([first[unit].size for unit in units], float)
    shape = (len(units), len(seeds))
    plain = bool((sizes == 1.0).all())
    return Values(units, tuple(seeds), values.reshape(shape), strata, None if plain else sizes)


def _test(values: np.ndarray, strata: np.ndarray, sizes: np.ndarray | None) -> TTest:
    return t_test(values[:, :, None], strata) if sizes is None else ratio_test(values, sizes)


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """Exact two-sided p-value of two columns of 0 and 1: a binomial test of the discordant ones."""
    from scipy.stats import binomtest

    better, worse = int((one > other).sum()), int((one < other).sum())
    return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0
