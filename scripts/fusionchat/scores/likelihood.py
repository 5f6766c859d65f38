"""Held-out negative log-likelihood of the models, with intervals over dialogues and seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusionchat.errors import UserError
from fusionchat.files import read_json
from fusionchat.scores.seeds import paired_seeds, split_seed
from fusionchat.scores.statistics import TTest, ratio_interval, ratio_test

Bounded = tuple[float, float, float]


@dataclass(frozen=True)
class Likelihood:
    """One model's held-out dialogues that all its seeds scored.

    `nats` [D, seeds] of each dialogue, its response `tokens` [D] and `sizes` in bytes [D].
    """

    ids: tuple[str, ...]
    seeds: tuple[int, ...]
    nats: np.ndarray
    tokens: np.ndarray
    sizes: np.ndarray

    @property
    def token(self) -> Bounded:
        """Nats per response token with its interval."""
        return ratio_interval(self.nats, self.tokens)

    @property
    def byte(self) -> Bounded:
        """Nats per response byte with its interval."""
        return ratio_interval(self.nats, self.sizes)


def read_likelihoods(paths: Sequence[Path]) -> dict[str, Likelihood]:
    """Read the nll files by the name of their model; replicates are seeds of one model."""
    records: dict[str, dict[str, list[float]]] = {}
    for path in paths:
        record = read_json(path)
        try:
            rows = {
                str(row[0]): [float(row[i]) for i in (2, 3, 4)] for row in record["per_dialogue"]
            }
            records[record["model"]] = rows
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise UserError(f"{path} is not a file of measure_nll: {error!r}") from error
    models: dict[str, dict[int, dict[str, list[float]]]] = {}
    for name, rows in records.items():
        base, seed = split_seed(name, records)
        models.setdefault(base, {})[seed] = rows
    return {name: _joined(dict(sorted(seeds.items()))) for name, seeds in models.items()}


def _joined(seeds: dict[int, dict[str, list[float]]]) -> Likelihood:
    first = next(iter(seeds.values()))
    ids = tuple(name for name in first if all(name in rows for rows in seeds.values()))
    nats = np.asarray([[rows[name][0] for rows in seeds.values()] for name in ids])
    counts = np.asarray([first[name][1:] for name in ids]).reshape(-1, 2)
    return Likelihood(ids, tuple(seeds), nats, counts[:, 0], counts[:, 1])


def likelihood_test(one: Likelihood, other: Likelihood) -> TTest | None:
    """Nats per response byte of `one` minus those of `other`, paired by dialogue and seed.

    Bytes are the same for every tokenizer. Dialogues that only one could score do not count; None
    where there are no others.
    """
    places = {name: place for place, name in enumerate(other.ids)}
    shared = [(place, places[name]) for place, name in enumerate(one.ids) if name in places]
    if not shared:
        return None
    rows, others = (list(side) for side in zip(*shared, strict=True))
    seeds, matched = paired_seeds(one.seeds, other.seeds)
    nats = one.nats[np.ix_(rows, seeds)] - other.nats[np.ix_(others, matched)]
    return ratio_test(nats, one.sizes[rows])


def likelihood_difference(one: Likelihood, other: Likelihood) -> Bounded:
    """The same as (value, low, high)."""
    test = likelihood_test(one, other)
    if test is None:
        return math.nan, math.nan, math.nan
    return float(test.mean[0]), float(test.low[0]), float(test.high[0])
