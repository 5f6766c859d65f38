"""Held-out negative log-likelihood of the models, with intervals over dialogues."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusionchat.errors import UserError
from fusionchat.files import read_json
from fusionchat.scores.statistics import ratio_interval


@dataclass(frozen=True)
class Likelihood:
    """One model's nats per response token and per response byte, each (value, low, high).

    `dialogues` holds the nats and the response bytes of each dialogue that was scored.
    """

    token: tuple[float, float, float]
    byte: tuple[float, float, float]
    dialogues: dict[str, tuple[float, float]]


def read_likelihoods(paths: Sequence[Path]) -> dict[str, Likelihood]:
    """Read the nll files by the name of their model."""
    found = {}
    for path in paths:
        record = read_json(path)
        try:
            rows = record["per_dialogue"]
            nats, tokens, sizes = (np.asarray([row[i] for row in rows], float) for i in (2, 3, 4))
            name = record["model"]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise UserError(f"{path} is not a file of measure_nll: {error!r}") from error
        token, byte = ratio_interval(nats, tokens), ratio_interval(nats, sizes)
        ids = [str(row[0]) for row in rows]
        dialogues = dict(zip(ids, zip(nats, sizes, strict=True), strict=True))
        found[name] = Likelihood(token, byte, dialogues)
    return found


def likelihood_difference(one: Likelihood, other: Likelihood) -> tuple[float, float, float]:
    """Nats a response byte of `one` minus those of `other`, paired by dialogue: (value, low, high).

    Bytes are the same for every tokenizer. Dialogues that only one could score do not count.
    """
    shared = [name for name in one.dialogues if name in other.dialogues]
    if not shared:
        return math.nan, math.nan, math.nan
    first, second = (np.asarray([m.dialogues[name] for name in shared]) for m in (one, other))
    return ratio_interval(first[:, 0] - second[:, 0], first[:, 1])
