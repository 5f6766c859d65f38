"""The compiled loops against plain numpy in float64, and rounding against exact neighbours."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from fusionchat.merging import kernels
from fusionchat.merging.tensor_blocks import FORMATS, kernel_values, narrow, narrow_and_count, widen

TORCH = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def bits_of(values) -> np.ndarray:
    raw, _ = narrow(np.array(values, np.float64), "BF16")
    return raw.view(np.uint16)


def as_float(bits: np.ndarray) -> np.ndarray:
    result = np.empty(bits.size, np.float32)
    kernels.widen_bf16(bits, result)
    with np.errstate(invalid="ignore"):
        return result.astype(np.float64)


def test_every_bfloat16_survives_the_round_trip():
    bits = np.arange(1 << 16, dtype=np.uint16)
    values = as_float(bits)
    finite = np.isfinite(values)
    np.testing.assert_array_equal(bits_of(values[finite]), bits[finite])


def test_ties_go_to_even_and_one_rounding_is_enough():
    step = 2.0**-7
    assert as_float(bits_of([1 + step / 2, 1 + 1.5 * step])).tolist() == [1.0, 1 + 2 * step]
    # float32 would first drop the last bit and make this a tie
    assert as_float(bits_of([1 + step / 2 + 2.0**-40])).tolist() == [1 + step]


@given(st.floats(-3e38, 3e38) | st.floats(-(2.0**-125), 2.0**-125))
@example(7.04710962334541e-39)  # a subnormal number: rounding to 8 bits first makes it a tie
def test_no_bfloat16_is_nearer(value):
    [bits] = bits_of([value])
    nearest = abs(as_float(np.array([bits]))[0] - value)
    for neighbour in (int(bits) - 1, int(bits) + 1):
        if neighbour & 0x7FFF < 0x7F80 and neighbour >= 0:
            other = as_float(np.array([neighbour], np.uint16))[0]
            assert nearest <= abs(other - value)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_every_type_is_rounded_as_numpy_or_torch_round(dtype):
    rng = np.random.default_rng(3)
    step, half = 2.0 ** FORMATS[dtype].smallest, 2.0 ** -FORMATS[dtype].bits
    values = np.concatenate(
        [
            rng.standard_normal(5000) * 2.0 ** rng.integers(-30, 4, 5000),
            rng.integers(-3000, 3000, 2000) * step / 2,  # ties of subnormal numbers
            1 + rng.integers(0, 3000, 2000) * half,  # ties of normal ones
            [0.0, -0.0, FORMATS[dtype].largest, -FORMATS[dtype].largest],
        ]
    )
    raw, finite = narrow(values, dtype)
    assert finite
    expected = torch.from_numpy(values).to(TORCH[dtype])
    if dtype != "F32":  # torch goes through float32
        expected = expected[exact := values == values.astype(np.float32)]
        raw = raw.view(np.uint16)[exact].view(np.uint8)
    assert raw.tobytes() == expected.view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3.5e38])
def test_what_a_type_cannot_hold_is_reported(dtype, value):
    limit = FORMATS[dtype].largest
    assert not narrow(np.array([1.0, value, 2.0]), dtype)[1]
    assert narrow(np.array([1.0, limit * (1 + 2.0**-26), -2.0]), dtype)[1]


def test_no_nan_becomes_a_number():
    bits = np.array([0x7FC00000, 0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF], np.uint32)
    with np.errstate(invalid="ignore"):
        values = bits.view(np.float32).astype(np.float64)
    for nan in values:
        assert not narrow(np.array([1.0, nan]), "BF16")[1]


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_counting_rounds_alike_and_sums_equal_numpy(dtype):
    rng = np.random.default_rng(4)
    pivot = as_float(bits_of(0.02 * rng.standard_normal(4001))).astype(np.float32)
    values = pivot + 1e-4 * rng.standard_normal(4001) * (rng.random(4001) < 0.7)
    sums = np.zeros(4)
    for _ in range(2):
        raw, finite = narrow_and_count(values, dtype, pivot, sums)
        assert finite
    assert raw.tobytes() == narrow(values, dtype)[0].tobytes()
    rounded = np.empty(4001, np.float32)
    widen(kernel_values(raw, dtype), rounded)
    moved = values != pivot
    expected = [((rounded - values) ** 2).sum(), ((values - pivot) ** 2).sum(), moved.sum()]
    expected += [(moved & (rounded == pivot)).sum()]
    np.testing.assert_allclose(sums / 2, expected, rtol=1e-9)


@pytest.mark.parametrize("size", [0, 1, 7, 2048, 5000])
def test_sums_equal_numpy(size):
    rng = np.random.default_rng(size)
    pivot, *targets = rng.standard_normal((4, size)).astype(np.float32)
    pivot[: size // 2] = targets[0][: size // 2]
    change = targets[0].astype(np.float64) - pivot
    assert kernels.squared_change(pivot, targets[0]) == pytest.approx((change**2).sum(), rel=1e-12)
    assert kernels.absolute_change(pivot, targets[0]) == pytest.approx(abs(change).sum(), rel=1e-12)
    assert kernels.changed_elements(pivot, targets[0]) == np.count_nonzero(change)
    weights, result = np.array([0.2, 0.3, 0.5]), np.empty(size)
    for target, weight in zip(targets, weights, strict=True):
        kernels.add_weighted(target, weight, weight == 0.2, result)
    np.testing.assert_allclose(
        result, weights @ np.array(targets, np.float64), rtol=1e-13, atol=1e-15
    )


def test_sums_take_bfloat16_bits_and_float32_alike():
    rng = np.random.default_rng(7)
    bits = rng.integers(0x3C00, 0x3F00, (2, 999)).astype(np.uint16)
    single = np.stack([as_float(row) for row in bits]).astype(np.float32)
    for measure in (kernels.squared_change, kernels.absolute_change, kernels.changed_elements):
        expected = measure(single[0], single[1])
        for pivot, target in ((bits[0], bits[1]), (bits[0], single[1]), (single[0], bits[1])):
            assert measure(pivot, target) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("square", [True, False])
@pytest.mark.parametrize("softmax", [True, False])
def test_weights_by_element_equal_numpy(square, softmax):
    rng = np.random.default_rng(5)
    pivot = rng.standard_normal(100).astype(np.float32)
    targets = np.stack([pivot, pivot, pivot])
    targets[:, 20:] += rng.standard_normal((3, 80)).astype(np.float32)
    result, sums = np.empty(100), np.zeros(3)
    kernels.weighted_by_element(pivot, targets, square, softmax, result, sums)
    change = abs(targets.astype(np.float64) - pivot)
    score = change**2 if square else change
    score = np.exp(score) if softmax else score
    weights = np.full((3, 100), 1 / 3)
    weights[:, 20:] = score[:, 20:] / score[:, 20:].sum(0)
    np.testing.assert_array_equal(result[:20], pivot[:20])
    np.testing.assert_allclose(result, (weights * targets).sum(0), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(sums, weights.sum(1), rtol=1e-10)
