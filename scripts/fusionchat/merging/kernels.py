"""Inner loops of merging, compiled once by numba: change, weighted sums, rounding.

Values are float32, or the bits of bfloat16 as uint16, in memory, and float64 in registers:
differences and products are then exact or nearly so, and only the last rounding counts.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray

Values = NDArray[np.float32] | NDArray[np.uint16]
_BF16_INFINITY = 0x7F80
_BF16_NORMAL = 2.0**-126  # the smallest normal number
_BF16_GRID = 2.0 ** (52 - 133)  # float64 numbers from here on are 2^-133 apart
_compiled = njit(cache=True, nogil=True)
# Sums may be reordered (vectorised); NaN and infinity must survive so that they can be reported.
_reduction = njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})


def exact(value: Any) -> float:
    """A float32, or the bits of a bfloat16, as float64; compiled code only."""
    raise NotImplementedError


@overload(exact)
def _exact(value):  # type: ignore[no-untyped-def]  # numba compares it with the lambdas
    if isinstance(value, types.Integer):
        # the upper half of a float32's bits
        return lambda value: np.float64(
            np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
        )
    return lambda value: np.float64(value)


@_compiled
def widen_bf16(source: NDArray[np.uint16], result: NDArray[np.float32]) -> None:
    """Bfloat16 bits [n] to float32 [n]."""
    for i in range(source.size):
        result[i] = np.float32(exact(source[i]))


@_compiled
def narrow_bf16(values: NDArray[np.float64], result: NDArray[np.uint16]) -> bool:
    """Float64 [n] to bfloat16 bits [n], to nearest even in one rounding; whether all are finite.

    Normal numbers are rounded at their 8th significant bit, subnormal ones to multiples of 2^-133.
    Both are float32 numbers whose lower half is zero.
    """
    largest, undefined = np.uint16(0), False
    for i in range(values.size):
        value = np.float64(values[i])
        undefined |= value != value  # rounding up may carry a NaN's bits over to zero
        bits = value.view(np.uint64)
        odd = (bits >> np.uint64(45)) & np.uint64(1)
        bits = np.uint64(bits + np.uint64((1 << 44) - 1) + odd)
        rounded = np.uint64((bits >> np.uint64(45)) << np.uint64(45)).view(np.float64)
        magnitude = abs(value)
        if magnitude < _BF16_NORMAL:
            rounded = np.copysign((magnitude + _BF16_GRID) - _BF16_GRID, value)
        result[i] = np.float32(rounded).view(np.uint32) >> np.uint32(16)
        largest = max(largest, np.uint16(result[i] & np.uint16(0x7FFF)))
    return bool(largest < _BF16_INFINITY and not undefined)


@_reduction
def squared_change(pivot: Values, target: Values) -> float:
    """Sum of (target - pivot)^2 over [n]."""
    total = 0.0
    for i in range(pivot.size):
        change = exact(target[i]) - exact(pivot[i])
        total += change * change
    return total


@_reduction
def absolute_change(pivot: Values, target: Values) -> float:
    """Sum of |target - pivot| over [n]."""
    total = 0.0
    for i in range(pivot.size):
        total += abs(exact(target[i]) - exact(pivot[i]))
    return total


@_reduction
def changed_elements(pivot: Values, target: Values) -> int:
    """Number of elements of [n] that differ."""
    total = 0
    for i in range(pivot.size):
        total += exact(target[i]) != exact(pivot[i])
    return total


@_compiled
def add_weighted(values: Values, weight: float, first: bool, result: NDArray[np.float64]) -> None:
    """Add weight * values to `result` [n], or set `result` to it if it is the `first`."""
    if first:
        for i in range(result.size):
            result[i] = weight * exact(values[i])
    else:
        for i in range(result.size):
            result[i] += weight * exact(values[i])


@_compiled
def weighted_by_element(
    pivot: NDArray[np.float32],
    targets: NDArray[np.float32],
    square: bool,
    softmax: bool,
    result: NDArray[np.float64],
    weight_sums: NDArray[np.float64],
) -> None:
    """VaRM with every element as its own unit; unchanged elements keep the pivot's value.

    The weight of target j is its change, squared or absolute, over the sum of all changes (or its
    softmax). `weight_sums` [targets] grows by the weights, 1/targets where nothing changed.
    """
    count = targets.shape[0]
    weights = np.empty(count)
    for i in range(result.size):
        largest = changed = 0.0
        for j in range(count):
            change = abs(np.float64(targets[j, i]) - np.float64(pivot[i]))
            weights[j] = change * change if square else change
            largest = max(largest, weights[j])
            changed += weights[j]  # unlike the largest, NaN where any is
        total = 0.0
        for j in range(count):
            if softmax:
                weights[j] = np.exp(weights[j] - largest)
            total += weights[j]
        value = 0.0
        for j in range(count):
            value += weights[j] * targets[j, i]
            weight_sums[j] += weights[j] / total if total > 0 else 1 / count
        result[i] = pivot[i] if changed == 0 else value / total


@_reduction
def rounding_loss(
    exact_values: NDArray[np.float64], rounded: Values, pivot: Values, sums: NDArray[np.float64]
) -> None:
    """Add to `sums` [4], over [n]: squared rounding error, squared change of the exact values
    against the pivot, elements that changed, and those of them that are the pivot's once rounded.
    """
    error = change = 0.0
    changed = lost = 0
    for i in range(exact_values.size):
        start, end = exact(pivot[i]), exact(rounded[i])
        error += (end - exact_values[i]) * (end - exact_values[i])
        change += (exact_values[i] - start) * (exact_values[i] - start)
        moved = exact_values[i] != start
        changed += moved
        lost += moved and end == start
    sums[0] += error
    sums[1] += change
    sums[2] += changed
    sums[3] += lost


@_compiled
def near_ties(values: NDArray[np.float64], dropped: int, result: NDArray[np.int64]) -> int:
    """Positions in [n] of values within 4 float64 steps of a tie; returns how many there are.

    A tie lies half-way between two numbers of a type with `dropped` fewer bits than float64.
    """
    count = 0
    half = np.int64(1) << (dropped - 1)
    for i in range(values.size):
        tail = np.int64(values[i : i + 1].view(np.int64)[0]) & (2 * half - 1)
        result[count] = i  # kept by the count, without a branch: with equal weights it is a coin's
        count += int(abs(tail - half) <= 4)
    return count


@_compiled
def magnitude_range(bits: NDArray[np.unsignedinteger], result: NDArray[np.unsignedinteger]) -> None:
    """Bits of the smallest magnitude above zero and of the largest in [n] to `result` [2].

    Both are zero where all are. Bits are ordered like the magnitudes, with NaN at the top.
    """
    one = bits.dtype.type(1)
    size = bits.dtype.type(~bits.dtype.type(0)) >> one  # all but the sign
    low, high = bits.dtype.type(~bits.dtype.type(0)), bits.dtype.type(0)
    for i in range(bits.size):
        magnitude = bits[i] & size
        high = max(high, magnitude)
        low = min(low, bits.dtype.type(magnitude - one))  # zero becomes the largest number
    result[0], result[1] = low + one, high


@_compiled
def add_range(
    values: Values, places: NDArray[np.int64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> None:
    """Lower `low` and raise `high` [k] to the magnitudes at `places` [k]; zeros have none."""
    for k in range(places.size):
        magnitude = abs(exact(values[places[k]]))
        high[k] = max(high[k], magnitude)
        if magnitude > 0:
            low[k] = min(low[k], magnitude)


@_compiled
def _two_sum(first: float, second: float) -> tuple[float, float]:
    """A sum, and its rounding error (Knuth)."""
    total = first + second
    back = total - first
    return total, (first - (total - back)) + (second - back)


@_compiled
def _two_product(first: float, second: float) -> tuple[float, float]:
    """A product, and its rounding error (Dekker, Veltkamp)."""
    product = first * second
    wide, other = 134217729.0 * first, 134217729.0 * second
    high, upper = wide - (wide - first), other - (other - second)
    low, lower = first - high, second - upper
    return product, ((high * upper - product) + high * lower + low * upper) + low * lower


@_compiled
def settle_ties(
    values: NDArray[np.float64],
    places: NDArray[np.int64],
    dropped: int,
    targets: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> None:
    """Move values [n] at `places` [k] to the tie, or to the side of it where the mean lies.

    The sign of sum_j w_j (theta_j - tie) decides, in about twice float64's precision; `targets`
    [targets, k].
    """
    half = np.int64(1) << (dropped - 1)
    for k in range(places.size):
        cell = values[places[k] : places[k] + 1].view(np.int64)
        tie = (cell[0] & ~(2 * half - 1)) | half
        cell[0] = tie
        middle = values[places[k]]
        total = rest = 0.0
        for j in range(weights.size):
            high, low = _two_sum(targets[j, k], -middle)
            for part in (high, low):
                product, error = _two_product(weights[j], part)
                total, lost = _two_sum(total, product)
                rest += error + lost
        side = total + rest
        if side != 0:  # a larger magnitude has larger bits, whatever the sign
            cell[0] = tie + (1 if (side > 0) == (middle > 0) else -1)
