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
Values64 = NDArray[np.float64]
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
def _anchor(magnitude: float, scale: float, least: float) -> float:
    """The power of two from which on float64 has the steps that the type has at `magnitude`.

    Adding and subtracting it rounds to that type, to nearest even: normal numbers have steps that
    grow with them, subnormal ones share those of the `least` anchor.
    """
    bits = np.float64(magnitude).view(np.uint64) & np.uint64(0x7FF0000000000000)  # the exponent's
    return max(np.uint64(bits).view(np.float64) * scale, least)


@_compiled
def _rounded(value: float, scale: float, least: float) -> float:
    """A float64 rounded to a type; NaN for what is not finite."""
    magnitude = abs(value)
    anchor = _anchor(magnitude, scale, least)
    return np.copysign((magnitude + anchor) - anchor, value)


def _stored(value: float, cells: Any) -> Any:
    """A float64 that float32, or bfloat16, can hold, as `cells` store it; compiled code only."""
    raise NotImplementedError


@overload(_stored)
def _stored_(value, cells):  # type: ignore[no-untyped-def]  # numba compares it with the lambdas
    if isinstance(cells.dtype, types.Integer):
        return lambda value, cells: np.float32(value).view(np.uint32) >> np.uint32(16)
    return lambda value, cells: np.float32(value)


@_compiled
def narrow(values: Values64, scale: float, least: float, largest: float, result: Values) -> bool:
    """Float64 [n] to a type, to nearest even in one rounding; whether all are finite there.

    `scale`, `least` and `largest` describe the type (`tensor_blocks.FloatFormat`).
    """
    finite = True
    for i in range(values.size):
        value = _rounded(values[i], scale, least)
        finite &= abs(value) <= largest
        result[i] = _stored(value, result)
    return finite


@_reduction
def narrow_and_count(
    values: Values64,
    pivot: Values,
    scale: float,
    least: float,
    largest: float,
    result: Values,
    sums: Values64,
) -> bool:
    """The same, and add to `sums` [4] what rounding takes.

    Over [n]: squared rounding error, squared change of the values against the pivot, elements that
    changed, and those of them that are the pivot's once rounded.
    """
    finite = True
    error = change = 0.0
    changed = lost = 0
    for i in range(values.size):
        exact_value, start = values[i], exact(pivot[i])
        end = _rounded(exact_value, scale, least)
        finite &= abs(end) <= largest
        result[i] = _stored(end, result)
        error += (end - exact_value) * (end - exact_value)
        change += (exact_value - start) * (exact_value - start)
        changed += exact_value != start
        lost += (exact_value != start) & (end == start)
    sums[0] += error
    sums[1] += change
    sums[2] += changed
    sums[3] += lost
    return finite


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
def add_weighted(values: Values, weight: float, first: bool, result: Values64) -> bool:
    """Add weight * values to `result` [n], or set `result` to it if it is the `first`.

    Whether no sum was rounded; products are not asked.
    """
    exact_sums = True
    if first:
        for i in range(result.size):
            result[i] = weight * exact(values[i])
    else:
        for i in range(result.size):
            total, error = _two_sum(result[i], weight * exact(values[i]))
            result[i] = total
            exact_sums &= error == 0
    return exact_sums


@_compiled
def add_magnitudes(values: Values, weight: float, result: Values64) -> None:
    """Add |weight * values| to `result` [n]."""
    for i in range(result.size):
        result[i] += abs(weight * exact(values[i]))


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
def _tie(value: float, scale: float, least: float) -> float:
    """The tie of a type that is nearest to a float64: half-way between two of its numbers."""
    magnitude = abs(value)
    anchor = _anchor(magnitude, scale, least)
    nearest = (magnitude + anchor) - anchor
    half = anchor * 2.0**-53  # of a step
    return np.copysign(nearest + (half if magnitude >= nearest else -half), value)


@_compiled
def near_ties(
    values: Values64, errors: Values64, scale: float, least: float, result: NDArray[np.int64]
) -> int:
    """Positions in [n] of values within their `errors` [n] of a tie; returns how many there are."""
    count = 0
    for i in range(values.size):
        result[count] = i  # kept by the count, without a branch: with equal weights it is a coin's
        count += abs(values[i] - _tie(values[i], scale, least)) <= errors[i]
    return count


@_compiled
def _weighted_distance(targets: Values64, weights: Values64, k: int, middle: float) -> float:
    """sum_j w_j (theta_j - middle) of column k, summed in about twice float64's precision."""
    total = rest = 0.0
    for j in range(weights.size):
        high, low = _two_sum(targets[j, k], -middle)
        for part in (high, low):
            product, error = _two_product(weights[j], part)
            total, lost = _two_sum(total, product)
            rest += error + lost
    return total + rest


@_compiled
def settle_ties(
    values: Values64,
    places: NDArray[np.int64],
    scale: float,
    least: float,
    targets: Values64,
    weights: Values64,
) -> None:
    """Move values [n] at `places` [k] to the tie, or to the side of it where the mean lies.

    `targets` [targets, k]. What had cancelled to nothing is the mean again first.
    """
    for k in range(places.size):
        cell = values[places[k] : places[k] + 1]
        cell[0] = _weighted_distance(targets, weights, k, 0.0) / weights.sum()
        tie = _tie(cell[0], scale, least)
        if abs(cell[0] - tie) > 2.0**-50 * abs(cell[0]):
            continue
        side = _weighted_distance(targets, weights, k, tie)
        cell[0] = tie
        if side != 0:  # a larger magnitude has larger bits, whatever the sign
            cell.view(np.int64)[0] += 1 if (side > 0) == (tie > 0) else -1


@_compiled
def weighted_by_element(
    pivot: NDArray[np.float32],
    targets: NDArray[np.float32],
    square: bool,
    softmax: bool,
    result: Values64,
    weight_sums: Values64,
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
