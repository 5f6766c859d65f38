"""Which of several merged models a released checkpoint is, or which mixture of the targets.

With d = released - pivot, a candidate is described by |released - candidate| / |d|: 0 for the same
model, 1 for one that is as far from it as the pivot. Independently of the candidates, d is fitted
by least squares as sum_j a_j (target_j - pivot), by tensor and over all tensors: a mixture of
the targets with fixed weights leaves nothing over, whatever the weights were.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fusionchat.errors import UserError
from fusionchat.progress import progress

if TYPE_CHECKING:
    import torch

BLOCK = 1 << 24  # elements compared at a time


@dataclass
class Distance:
    """Sums over elements: squared distance from the released model, and how many are equal."""

    squares: float = 0.0
    equal: int = 0
    largest: float = 0.0


@dataclass
class Comparison:
    """Everything measured: candidates by name, and the fit of the targets' changes."""

    elements: int = 0
    changed: float = 0.0
    distances: dict[str, Distance] = field(default_factory=dict)
    gram: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    right: np.ndarray = field(default_factory=lambda: np.zeros(0))
    by_tensor: dict[str, np.ndarray] = field(default_factory=dict)

    def relative(self, name: str) -> float:
        """|released - candidate| / |released - pivot|."""
        return float(np.sqrt(self.distances[name].squares / max(self.changed, 1e-300)))

    def coefficients(self) -> np.ndarray:
        """Weights [targets] of the least-squares mixture over all tensors."""
        return solve(self.gram, self.right)

    def left_over(self) -> float:
        """Share of |d| that the best mixture of the targets does not explain."""
        explained = float(self.coefficients() @ self.right)
        return float(np.sqrt(max(0.0, 1 - explained / max(self.changed, 1e-300))))


def solve(gram: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Least-squares weights; the smallest ones where the changes are not independent."""
    return np.linalg.lstsq(gram, right, rcond=None)[0]


def compare(
    released: Path, pivot: Path, targets: Mapping[str, Path], candidates: Mapping[str, Path]
) -> Comparison:
    """Read all models once, block by block, in float32 with sums in float64."""
    folders = {"": released, "pivot": pivot, **targets, **candidates}
    result = Comparison(distances={name: Distance() for name in folders if name})
    count = len(targets)
    result.gram, result.right = np.zeros((count, count)), np.zeros(count)
    readers = {name: _Reader(folder) for name, folder in folders.items()}
    for tensor in progress(sorted(readers[""].files), desc="compare", unit="tensor"):
        gram, right = np.zeros((count, count)), np.zeros(count)
        for block in _blocks(readers, tensor):
            mine, base = block.pop(""), block["pivot"]
            change = mine - base
            result.elements += mine.size
            result.changed += float(change @ change)
            for name, other in block.items():
                _add(result.distances[name], mine, other)
            moves = np.stack([block[name] - base for name in targets])
            gram += moves @ moves.T
            right += moves @ change
        result.gram += gram
        result.right += right
        if gram.any():
            result.by_tensor[tensor] = solve(gram, right)
    return result


def _add(distance: Distance, mine: np.ndarray, other: np.ndarray) -> None:
    off = mine - other
    distance.squares += float(off @ off)
    distance.equal += int(np.count_nonzero(off == 0))
    distance.largest = max(distance.largest, float(np.abs(off).max(initial=0.0)))


class _Reader:
    """Tensors of a folder by name."""

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        self.folder = folder
        self.open = [safe_open(p, "pt") for p in sorted(folder.glob("*.safetensors"))]
        self.files = {name: file for file in self.open for name in file.keys()}  # noqa: SIM118
        if not self.files:
            raise UserError(f"{folder} has no safetensors")

    def read(self, name: str) -> "torch.Tensor":
        if name not in self.files:
            raise UserError(f"{self.folder} has no tensor {name}")
        return self.files[name].get_tensor(name).flatten()


def _blocks(readers: Mapping[str, _Reader], tensor: str) -> Iterator[dict[str, np.ndarray]]:
    parts = {name: reader.read(tensor) for name, reader in readers.items()}
    sizes = {len(part) for part in parts.values()}
    if len(sizes) != 1:
        raise UserError(f"{tensor} has different sizes in {', '.join(readers)}: {sorted(sizes)}")
    for start in range(0, sizes.pop(), BLOCK):
        yield {n: p[start : start + BLOCK].double().numpy() for n, p in parts.items()}
