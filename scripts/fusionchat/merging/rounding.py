"""What is lost when merged weights are rounded to the type of their file.

Fine-tuning changes weights by less than bfloat16 can hold: rounded, most elements of a light
fine-tuning are the pivot's again. The loss is measured on every element of every merge.
"""

import csv
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDING = "rounding.csv"
TOO_MUCH = 0.05  # of the change
Sums = NDArray[np.float64]  # [4] of `kernels.narrow_and_count`


@dataclass(frozen=True)
class Loss:
    """Share of the change against the pivot that rounding took: by norm and by elements."""

    norm: float
    elements: float

    @classmethod
    def of(cls, sums: Sums) -> "Loss":
        """From the sums of one tensor or of many."""
        error, change, changed, lost = map(float, sums)
        return cls((error / change) ** 0.5 if change else 0.0, lost / changed if changed else 0.0)

    def __str__(self) -> str:
        return (
            f"{self.norm:.1%} of the change (by norm); {self.elements:.1%} of the changed elements "
            "are the pivot's again"
        )


@dataclass(frozen=True)
class Rounding:
    """The loss of a whole merge, its types, and which inputs are stored too coarsely.

    `coarse`: for each target stored in a coarser type than the pivot, the rounding of the pivot to
    that type over the target's change, by norm: 1 where nothing but the type was changed.
    """

    dtype: str
    total: Loss
    tensors: dict[str, Loss]
    coarse: dict[str, float]

    @classmethod
    def of(cls, dtype: str, sums: Mapping[str, Sums], coarse: Mapping[str, Sums]) -> "Rounding":
        """From the sums of each tensor, and [2] of each target: squared noise and change."""
        total = sum(sums.values(), np.zeros(4))
        shares = {
            target: float((noise / change) ** 0.5)
            for target, (noise, change) in coarse.items()
            if change > 0
        }
        return cls(dtype, Loss.of(total), {n: Loss.of(part) for n, part in sums.items()}, shares)

    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        lost = {"norm": self.total.norm, "elements": self.total.elements}
        return {"dtype": self.dtype, "lost": lost, "stored_coarsely": self.coarse}

    def lines(self) -> list[str]:
        """For a person: the loss, and a line for each input that is stored too coarsely."""
        return [f"rounding to {self.dtype} loses {self.total}", *self._coarse_lines()]

    def warn(self, output: Path) -> None:
        """Tell what is above `TOO_MUCH`."""
        if max(self.total.norm, self.total.elements) > TOO_MUCH:
            logging.warning(
                "%s: rounding to %s loses %s; --dtype float32 keeps the change",
                *(output, self.dtype, self.total),
            )
        for line in self._coarse_lines():
            logging.warning("%s: %s", output, line)

    def _coarse_lines(self) -> list[str]:
        return [
            f"the target {target} is stored in a coarser type than the pivot: that rounding is "
            f"{share:.0%} of its change, and counts as change here; use its float32 checkpoint"
            for target, share in self.coarse.items()
            if share > TOO_MUCH
        ]


def write_rounding(path: Path, rounding: Rounding) -> None:
    """A row for each tensor."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("tensor", "lost_norm", "lost_elements"))
        writer.writerows((n, loss.norm, loss.elements) for n, loss in rounding.tensors.items())
