"""Names of models that are trained several times: `clm`, and `clm-seed2` for its second seed."""

import re
from collections.abc import Collection, Sequence

FIRST = 1
_NAME = re.compile(r"(?P<base>.+)-seed(?P<seed>[2-9]|[1-9][0-9]+)")


def replicate_name(base: str, seed: int) -> str:
    """The name of a model's replicate with this training seed; the first has the plain name."""
    return base if seed == FIRST else f"{base}-seed{seed}"


def split_replicate(name: str) -> tuple[str, int]:
    """The model that a name belongs to, and its training seed."""
    match = _NAME.fullmatch(name)
    return (match["base"], int(match["seed"])) if match else (name, FIRST)


def split_seed(name: str, names: Collection[str]) -> tuple[str, int]:
    """`clm-seed3` is seed 3 of `clm`, if there is a `clm` in `names`; else a model of its own."""
    base, seed = split_replicate(name)
    return (base, seed) if base in names else (name, FIRST)


def paired_seeds(one: Sequence[int], other: Sequence[int]) -> tuple[list[int], list[int]]:
    """The places of the seeds by which two models are paired.

    Those that both have; a model with a single seed stands beside every seed of the other one.
    """
    if 1 in (len(one), len(other)):
        count = max(len(one), len(other))
        return _beside(one, count), _beside(other, count)
    shared = [seed for seed in one if seed in other]
    return [one.index(seed) for seed in shared], [other.index(seed) for seed in shared]


def _beside(seeds: Sequence[int], count: int) -> list[int]:
    return list(range(count)) if len(seeds) == count else [0] * count
