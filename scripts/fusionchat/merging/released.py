"""Which of several merged models a released checkpoint is, or which mixture of the targets.

With d = released - pivot, a candidate is described by |released - candidate| / |d|: 0 for the same
model, 1 for one that is as far from it as the pivot. Independently of the candidates, d is fitted
by least squares as sum_j a_j (target_j - pivot), by tensor and over all tensors: a mixture of
the targets with fixed weights leaves nothing over but the released model's own rounding, whatever
the weights were. Candidates are rounded to its type before they are compared.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fusionchat.errors import UserError
from fusionchat.merging.checkpoint_audit import match_tensors
from fusionchat.merging.inputs import not_finite
from fusionchat.merging.tensor_blocks import BLOCK, FORMATS, kernel_values, narrow, widen
from fusionchat.models.checkpoint import FLOATS, Checkpoint, open_checkpoint
from fusionchat.progress import progress
from fusionchat.readers.safetensors import TensorReader

SAME = 0.02  # relative distance or share left over that the order of sums may explain


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
    noise: float = 0.0  # expected squares of the released model's rounding
    distances: dict[str, Distance] = field(default_factory=dict)
    gram: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    right: np.ndarray = field(default_factory=lambda: np.zeros(0))
    by_tensor: dict[str, np.ndarray] = field(default_factory=dict)
    parts: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def relative(self, name: str) -> float:
        """|released - candidate| / |released - pivot|."""
        return float(np.sqrt(self.distances[name].squares / max(self.changed, 1e-300)))

    def coefficients(self) -> np.ndarray:
        """Weights [targets] of the least-squares mixture over all tensors."""
        return solve(self.gram, self.right)

    def intervals(self, draws: int = 2000) -> np.ndarray:
        """95% intervals [targets, 2] of the coefficients: percentiles over resampled tensors."""
        rng = np.random.default_rng(1)
        grams, rights = (np.array(column) for column in zip(*self.parts, strict=True))
        counts = rng.multinomial(len(rights), np.full(len(rights), 1 / len(rights)), draws)
        fits = [solve(np.tensordot(c, grams, 1), c @ rights) for c in counts]
        return np.percentile(fits, [2.5, 97.5], axis=0).T

    def verdict(self, released: str, targets: Sequence[str]) -> str:
        """One sentence: what the released model is."""
        nearest = min(self.distances, key=self.relative)
        distance, left = self.relative(nearest), self.left_over()
        if distance < SAME:
            return f"{released} is {nearest} (relative distance {distance:.3g})."
        fit = " and ".join(
            f"{weight:.3f} ({low:.3f} to {high:.3f}) of {target}"
            for target, weight, (low, high) in zip(
                targets, self.coefficients(), self.intervals(), strict=True
            )
        )
        if left < max(SAME, 1.2 * np.sqrt(self.noise / max(self.changed, 1e-300))):
            return (
                f"{released} is none of the models compared, but a mixture of the targets' changes "
                f"with the same weights everywhere: {fit}."
            )
        return (
            f"{released} is none of the models compared, the nearest being {nearest} at a relative "
            f"distance of {distance:.3g}, and no mixture with the same weights everywhere; the "
            f"best one, {fit}, leaves {left:.3g} of the change over."
        )

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
    model = open_checkpoint(released)
    readers = {name: _Reader(model, folder) for name, folder in folders.items()}
    tensors = sorted(name for name, info in model.tensors.items() if info.dtype in FLOATS)
    for tensor in progress(tensors, desc="compare", unit="tensor"):
        gram, right = np.zeros((count, count)), np.zeros(count)
        for block in _blocks(readers, tensor):
            released_block, base = block.pop(""), block["pivot"]
            change = released_block - base
            result.elements += released_block.size
            result.changed += float(change @ change)
            result.noise += rounding_noise(released_block, model.tensors[tensor].dtype)
            for name, other in block.items():
                as_stored = rounded(other, model.tensors[tensor].dtype)
                _add(result.distances[name], released_block, as_stored)
            moves = np.stack([block[name] - base for name in targets])
            gram += moves @ moves.T
            right += moves @ change
        result.gram += gram
        result.right += right
        result.parts.append((gram, right))
        if gram.any():
            result.by_tensor[tensor] = solve(gram, right)
    return result


def _add(distance: Distance, released: np.ndarray, other: np.ndarray) -> None:
    off = released - other
    distance.squares += float(off @ off)
    distance.equal += int(np.count_nonzero(off == 0))
    distance.largest = max(distance.largest, float(np.abs(off).max(initial=0.0)))


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """Float64 values [n] as a file of this type holds them; the released model was rounded, too."""
    raw, _ = narrow(values, dtype)
    single = np.empty(values.size, np.float32)
    widen(kernel_values(raw, dtype), single)
    return single.astype(np.float64)


def rounding_noise(values: np.ndarray, dtype: str) -> float:
    """Expected sum of squared errors where values [n] were rounded: a twelfth of a step squared."""
    exponents = np.frexp(values[values != 0])[1]
    steps = np.exp2(exponents - FORMATS[dtype].bits)
    return float(steps @ steps) / 12


class _Reader:
    """Tensors of a checkpoint by the released model's names."""

    def __init__(self, released: Checkpoint, folder: Path) -> None:
        self._checkpoint = open_checkpoint(folder)
        self._names = match_tensors(released, self._checkpoint)
        self._files = TensorReader()

    def blocks(self, tensor: str) -> Iterator[np.ndarray]:
        """Blocks [n] of a tensor in float64."""
        info = self._checkpoint.tensors[self._names[tensor]]
        values = kernel_values(self._files.map(info), info.dtype)
        for start in range(0, info.elements, BLOCK):
            part = values[start : start + BLOCK]
            single = np.empty(part.size, np.float32)
            widen(part, single)
            if not np.isfinite(single).all():
                raise UserError(not_finite([self._checkpoint], tensor))
            yield single.astype(np.float64)


def _blocks(readers: Mapping[str, _Reader], tensor: str) -> Iterator[dict[str, np.ndarray]]:
    for parts in zip(*(reader.blocks(tensor) for reader in readers.values()), strict=True):
        yield dict(zip(readers, parts, strict=True))
