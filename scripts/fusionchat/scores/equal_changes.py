"""A null control of VaRM: the changes of one target, taken twice, must get uniform weights."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusionchat.readers.parquet import read_table

COLUMNS = ("tensor", "sum_square", "elements")


@dataclass(frozen=True)
class EqualChanges:
    """A target's name, its number of matrices, and the largest |W - 1/2| over them."""

    target: str
    units: int
    deviation: float


def equal_changes(target: str, variation: Path) -> EqualChanges:
    """Equation 7 for a target's measured changes and the same again, matrix by matrix."""
    from fusionchat.merging.methods.varm import pool, weights

    rows = read_table(variation, COLUMNS, "measure_variation").to_pylist()
    sums = {row["tensor"]: np.full(2, row["sum_square"]) for row in rows}
    elements = {row["tensor"]: row["elements"] for row in rows}
    units = pool(sums, "matrix", sums, elements)
    shares = np.array([weights(total, count) for total, count in units.values()])
    return EqualChanges(target, len(units), float(np.abs(shares - 1 / 2).max()))
