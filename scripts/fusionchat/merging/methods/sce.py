"""SCE (arXiv 2408.07990): select by variance, calculate a weight per matrix, erase minor signs.

As in the authors' code, the selection only decides the weights; the merged changes are the full
ones. There is no epsilon: small changes are treated like large ones.
"""

from collections.abc import Iterator

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fusionchat.merging.methods import varm
from fusionchat.merging.tensor_blocks import TensorStack, Values

_BINS = 1 << 16
_compiled = njit(cache=True, nogil=True)


@_compiled
def deviation(targets: NDArray[np.float32], result: NDArray[np.float32]) -> None:
    """Population standard deviation over the targets of each element: [targets, n] to [n].

    Its order is that of the variance, but tiny changes do not vanish in float32.
    """
    count = targets.shape[0]
    for i in range(result.size):
        mean = 0.0
        for j in range(count):
            mean += np.float64(targets[j, i])
        mean /= count
        total = 0.0
        for j in range(count):
            difference = np.float64(targets[j, i]) - mean
            total += difference * difference
        result[i] = np.sqrt(total / count)


@_compiled
def _histogram(bits: NDArray[np.uint32], prefix: int, result: NDArray[np.int64]) -> None:
    """Counts of the upper halves (prefix < 0), or of the lower halves below one upper half."""
    for i in range(bits.size):
        upper = np.int64(bits[i] >> np.uint32(16))
        if prefix < 0:
            result[upper] += 1
        elif upper == prefix:
            result[np.int64(bits[i] & np.uint32(0xFFFF))] += 1


def threshold(values: NDArray[np.float32], largest: int) -> tuple[np.float32, int]:
    """The value of rank `largest` (1 = the greatest) of non-negative `values`, without a copy.

    Also how many values equal to it belong to the `largest` greatest ones.
    """
    bits = values.view(np.uint32)  # ordered like the non-negative floats themselves
    upper, remaining = _bin_of_rank(bits, -1, largest)
    lower, remaining = _bin_of_rank(bits, upper, remaining)
    return np.uint32(upper << 16 | lower).view(np.float32), remaining


def _bin_of_rank(bits: NDArray[np.uint32], prefix: int, rank: int) -> tuple[int, int]:
    counts = np.zeros(_BINS, np.int64)
    _histogram(bits, prefix, counts)
    from_top = counts[::-1].cumsum()
    place = int(np.searchsorted(from_top, rank))
    before = int(from_top[place - 1]) if place else 0
    return _BINS - 1 - place, rank - before


@_compiled
def selected_change(
    pivot: NDArray[np.float32],
    targets: NDArray[np.float32],
    deviations: NDArray[np.float32],
    limit: float,
    ties: int,
    sums: NDArray[np.float64],
) -> int:
    """Add the squared changes [targets] at elements above `limit`, and at the first `ties` at it.

    Returns how many ties are left for the next block.
    """
    for i in range(pivot.size):
        if deviations[i] < limit or (deviations[i] == limit and ties == 0):
            continue
        if deviations[i] == limit:
            ties -= 1
        for j in range(targets.shape[0]):
            change = np.float64(targets[j, i]) - np.float64(pivot[i])
            sums[j] += change * change
    return ties


@_compiled
def erased_sum(
    pivot: NDArray[np.float32],
    targets: NDArray[np.float32],
    weights: NDArray[np.float64],
    result: NDArray[np.float64],
) -> None:
    """Weighted mean of the targets whose change has the sign of the summed changes.

    A sum of zero counts as plus, an unchanged target has no sign; the pivot where none is left. NaN
    where a value or a weight is not finite, since NaN has no sign and would vanish.
    """
    for i in range(result.size):
        start = np.float64(pivot[i])
        total = 0.0
        for j in range(targets.shape[0]):
            total += np.float64(targets[j, i]) - start
        value = share = 0.0
        for j in range(targets.shape[0]):
            change = np.float64(targets[j, i]) - start
            if (change > 0 and total >= 0) or (change < 0 and total < 0):
                value += weights[j] * np.float64(targets[j, i])
                share += weights[j]
        if share > 0:
            result[i] = value / share
        else:
            result[i] = start if share == 0 and not np.isnan(total) else np.nan


class SceMerge:
    """SCE with the share `select_topk` of the varying elements; `erase` may be left out.

    With everything selected and nothing erased this is VaRM at matrix level.
    """

    name = "sce"
    reads_pivot = True

    def __init__(self, select_topk: float, erase: bool = True) -> None:
        self._select = select_topk
        self._erase = erase
        self.effective: dict[str, Values] = {}

    def unit(self, name: str) -> str:
        """Every matrix has its own weights."""
        return name

    def merge_tensor(self, name: str, stack: TensorStack) -> Iterator[Values]:
        """The merged tensor, block by block."""
        everything = self._select == 1
        sums = varm.sum_changes(stack) if everything else self._selected_changes(stack)
        shares = varm.weights(sums, stack.elements)
        self.effective[name] = shares
        if not self._erase:
            for _, *targets in stack.raw_blocks():
                yield stack.weighted_sum(targets, shares)
            return
        for block in stack.blocks():
            result = stack.result(block.shape[1])
            erased_sum(block[0], block[1:], shares, result)
            yield result

    def _selected_changes(self, stack: TensorStack) -> Values:
        """Sums of squared changes [targets] over the selected elements."""
        sums = np.zeros(stack.inputs - 1)
        deviations = np.empty(stack.elements, np.float32)
        for start, block in stack.placed_blocks():
            deviation(block[1:], deviations[start : start + block.shape[1]])
        count = int(np.count_nonzero(deviations) * self._select)
        if count == 0:
            return sums
        limit, ties = threshold(deviations, count)
        for start, block in stack.placed_blocks():
            part = deviations[start : start + block.shape[1]]
            ties = selected_change(block[0], block[1:], part, limit, ties, sums)
        return sums
