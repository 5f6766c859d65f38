"""Held-out negative log-likelihood of the models, with intervals over dialogues."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusionchat.errors import UserError
from fusionchat.files import read_json
from fusionchat.report.statistics import ratio_interval


@dataclass(frozen=True)
class Likelihood:
    """One model's nats per response token and per response byte, each (value, low, high)."""

    token: tuple[float, float, float]
    byte: tuple[float, float, float]
    dialogues: int


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
        found[name] = Likelihood(token, byte, len(rows))
    return found
