"""Training seeds: which names are replicates of a model, and which seeds two models share."""

from collections.abc import Collection, Sequence

from fusionchat.replicates import FIRST, split_replicate


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
