"""What rounding takes from a merge, the side of exact ties, and inputs that are stored coarsely."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from small_checkpoints import random_arrays, read, to_bf16, write

import merge_linear
import merge_sce
import merge_varm
from fusionchat.files import read_json
from fusionchat.merging.methods.linear import LinearMerge
from fusionchat.merging.tensor_blocks import (
    BLOCK,
    FORMATS,
    TensorStack,
    kernel_values,
    narrow,
    stored_type,
    whole_weights,
    widen,
)
from fusionchat.readers.safetensors import TensorReader

UNSIGNED = {"F32": np.uint32, "F16": np.uint16, "BF16": np.uint16}


def light_fine_tuning(folder, scale: float = 2e-5) -> list[str]:
    """A bfloat16 pivot and two float32 targets whose changes bfloat16 can hardly hold."""
    arrays = random_arrays(0, (128, 64), 0.05)
    options = [f"--pivot={write(folder / 'pivot', {n: to_bf16(a) for n, a in arrays.items()})}"]
    pivot = read(folder / "pivot")
    for seed, name in enumerate("ab", 1):
        change = random_arrays(seed, (128, 64), scale * seed)
        target = {n: (pivot[n] + change[n]).astype(np.float32) for n in pivot}
        options.append(f"--target={write(folder / name, target)}")
    return options


@pytest.mark.parametrize("main", [merge_varm.main, merge_linear.main, merge_sce.main])
def test_the_default_keeps_the_change_and_rounding_tells_its_loss(main, tmp_path, capsys, caplog):
    options = light_fine_tuning(tmp_path)
    main([*options, f"--output={tmp_path / 'kept'}"])
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    main([*options, "--dtype=bfloat16", f"--output={tmp_path / 'rounded'}"])
    pivot, kept, rounded = (read(tmp_path / name) for name in ("pivot", "kept", "rounded"))
    change = np.concatenate([(kept[n] - pivot[n]).ravel().astype(float) for n in pivot])
    error = np.concatenate([(rounded[n] - kept[n]).ravel().astype(float) for n in pivot])
    left = np.concatenate([(rounded[n] - pivot[n]).ravel() for n in pivot])[change != 0]
    facts = read_json(tmp_path / "rounded" / "manifest.json")["rounding"]
    assert facts["dtype"] == "bfloat16"
    norm, elements = np.linalg.norm(error) / np.linalg.norm(change), np.mean(left == 0)
    assert facts["lost"]["norm"] == pytest.approx(norm, rel=1e-3)
    assert facts["lost"]["elements"] == pytest.approx(elements, abs=1e-3)
    assert norm > 0.5 and elements > 0.5  # noqa: PT018
    assert read_json(tmp_path / "kept" / "manifest.json")["rounding"]["lost"]["norm"] < 1e-3
    [warning] = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert "--dtype float32 keeps the change" in warning
    told = f"rounding to bfloat16 loses {norm:.1%} of the change"
    assert told in warning
    assert told[1:] in (tmp_path / "rounded" / "README.md").read_text()
    assert (tmp_path / "rounded" / "rounding.csv").read_text().count("\n") == 1 + len(pivot)
    capsys.readouterr()
    main([*options, "--dtype=bfloat16", "--dry-run", f"--output={tmp_path / 'none'}"])
    assert told in capsys.readouterr().out
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("stored", [np.uint16, np.float32, np.float16])
def test_a_target_that_is_stored_coarsely_is_told(stored, tmp_path, caplog):
    """Also where a file of float32 holds what was rounded before."""
    pivot = random_arrays(0, (128, 64), 0.05)
    write(tmp_path / "pivot", pivot)
    changes = random_arrays(1, (128, 64), 2e-5)
    write(tmp_path / "changed", {n: pivot[n] + changes[n] for n in pivot})
    rounded = {
        n: torch.from_numpy(a).bfloat16().view(torch.uint16).numpy() for n, a in pivot.items()
    }
    untouched = {n: as_float(r) if stored is np.float32 else r for n, r in rounded.items()}
    if stored is np.float16:
        untouched = {n: array.astype(np.float16) for n, array in pivot.items()}
    write(tmp_path / "untouched", untouched)
    options = [f"--pivot={tmp_path / 'pivot'}"]
    options += [f"--target={tmp_path / name}" for name in ("changed", "untouched")]
    merge_varm.main([*options, f"--output={tmp_path / 'm'}"])
    facts = read_json(tmp_path / "m" / "manifest.json")["rounding"]
    assert facts["stored_coarsely"] == {"untouched": pytest.approx(1.0)}
    [warning] = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert "the target untouched is stored in a coarser type" in warning


def exact_mean(values: list[np.ndarray], weights: list[int]) -> np.ndarray:
    """Bits of the correctly rounded bfloat16 mean: rational arithmetic, half to even."""
    result = []
    for row in zip(*(as_float(v).tolist() for v in values), strict=True):
        mean = sum(w * Fraction(x) for w, x in zip(weights, row, strict=True)) / sum(weights)
        result.append(nearest_bf16(mean))
    return np.array(result, np.uint16)


def as_float(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def nearest_bf16(value: Fraction) -> int:
    sign, size = (0x8000, -value) if value < 0 else (0, value)
    low = int(np.float32(float(size)).view(np.uint32)) >> 16
    found = min(
        (bits for bits in (low - 1, low, low + 1) if 0 <= bits < 0x7F80),
        key=lambda b: (abs(Fraction(float(as_float(np.array([b]))[0])) - size), b & 1),
    )
    return found | sign


@pytest.mark.parametrize("weights", [(1, 2), (3, 7), (2, 3)])
def test_linear_is_rounded_correctly_at_ties(weights):
    """A million values; rational arithmetic checks all near a tie, and a sample of the rest."""
    rng = np.random.default_rng(sum(weights))
    values = [to_bf16(rng.standard_normal(1_000_000).astype(np.float32)) for _ in weights]
    wild = [rng.integers(0, 0x7F00, 100_000).astype(np.uint16) for _ in weights]
    for part in (values, wild):
        found = linear(part, weights)
        mean = sum(w * as_float(v).astype(float) for w, v in zip(weights, part, strict=True))
        mean /= sum(weights)
        tail = mean.view(np.int64) & (2**45 - 1)
        places = np.flatnonzero(abs(tail - 2**44) < 2**36)
        assert len(places) > 100
        places = np.union1d(places, np.arange(0, len(mean), 101))
        expected = exact_mean([v[places] for v in part], weights)
        np.testing.assert_array_equal(found[places], expected)


def linear(values: list[np.ndarray], weights: tuple[float, ...], dtype="BF16") -> np.ndarray:
    """Bits of the mean in `dtype`; values are bfloat16 bits or float32."""
    stack = InMemory(values, dtype)
    blocks = LinearMerge(np.array(weights, float)).merge_tensor("", stack)
    return np.concatenate([narrow(b, dtype)[0].view(UNSIGNED[dtype]).copy() for b in blocks])


class InMemory(TensorStack):
    """A tensor that is in memory."""

    def __init__(self, values: list[np.ndarray], dtype: str) -> None:
        super().__init__(TensorReader(), len(values))
        self._arrays = values
        self.open([], dtype)

    def raw_blocks(self):
        for start in range(0, len(self._arrays[0]), BLOCK):
            yield [v[start : start + BLOCK] for v in self._arrays]


@pytest.mark.parametrize("weights", [(1, 1), (2, 6), (0.5, 0.25), (1, 1, 1, 1), (1 << 40, 1), (3,)])
def test_ties_of_an_exact_sum_stay_ties(weights):
    """Weights of few bits; values that lie near each other, are zero, or lie far apart."""
    rng = np.random.default_rng(len(weights))
    near = [to_bf16(rng.standard_normal(30_000).astype(np.float32)) for _ in weights]
    near[0][::7] = 0
    zero = [np.zeros(100, np.uint16), *near[1:]]
    wild = [rng.integers(0, 0x7F00, 30_000).astype(np.uint16) for _ in weights]
    whole = [int(4 * w) for w in weights]
    for parts in (near, [part[:100] for part in zero], wild):
        np.testing.assert_array_equal(linear(parts, weights), exact_mean(parts, whole))


def test_weights_are_the_smallest_whole_numbers_of_their_ratio():
    assert whole_weights(np.array([3.0, 6.0])).tolist() == [1, 2]
    assert whole_weights(np.array([0.1, 0.2])).tolist() == [1, 2]  # one mantissa
    assert whole_weights(np.array([0.3, 0.7])) is None
    assert whole_weights(np.array([1.0, 2.0**29 - 1])) is not None
    assert whole_weights(np.array([1.0, 2.0**29])) is None  # 24 bits of a float32 more than 53


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("weights", [(1, 1), (0.1, 0.2), (0.3, 0.7), (0.1, 0.2, 0.3), (1e-9, 3)])
def test_any_weights_are_rounded_correctly_in_any_type(weights, dtype):
    """Also where values nearly cancel, and among the subnormal numbers of float16."""
    rng = np.random.default_rng(len(weights))
    for scale in (1.0, 3e-6):
        grid = 2.0**-20 * scale
        values = [
            (grid * rng.integers(-4000, 4000, 3000)).astype(np.float32).astype(np.float16)
            for _ in weights
        ]
        singles = [v.astype(np.float32) for v in values]
        singles[0][:500] = -2.3 * singles[1][:500]
        expected = []
        for row in zip(*(s.tolist() for s in singles), strict=True):
            products = [Fraction(w) * Fraction(x) for w, x in zip(weights, row, strict=True)]
            expected.append(nearest(sum(products) / sum(map(Fraction, weights)), dtype))
        bits, mean = linear(singles, weights, dtype), np.empty(3000, np.float32)
        widen(kernel_values(bits.view(np.uint8), dtype), mean)
        np.testing.assert_array_equal(mean, np.array(expected))


def nearest(value: Fraction, dtype: str) -> float:
    """Half to even, in rational arithmetic."""
    if value == 0:
        return 0.0
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    exponent -= abs(value) < Fraction(2) ** exponent
    step = Fraction(2) ** max(exponent + 1 - FORMATS[dtype].bits, FORMATS[dtype].smallest)
    return float(round(value / step) * step)


def test_a_tiny_part_breaks_a_tie():
    """7 x 185 / 10 is half-way between two bfloat16 numbers; what is added decides the side."""
    big = to_bf16(np.full(3, 185, np.float32))
    tiny = to_bf16(np.array([1e-30, -1e-30, 0], np.float32))
    expected = exact_mean([tiny, big], [3, 7])
    assert len(set(expected.tolist())) == 2
    np.testing.assert_array_equal(linear([tiny, big], (3, 7)), expected)


def test_what_a_float32_tensor_could_be_stored_as():
    values = np.arange(1, 2048, dtype=np.float32) / 4096
    assert stored_type(values, "F32") == "F16"
    assert stored_type(as_float(to_bf16(values)), "F32") == "BF16"
    assert stored_type(values + np.float32(1e-7), "F32") == "F32"
    assert stored_type(values * 2.0**20, "F32") == "F32"  # beyond float16
    assert stored_type(to_bf16(values), "BF16") == "BF16"


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_any_number_of_values_is_rounded(dtype):
    values = np.arange(2 * BLOCK + 3, dtype=np.float64)
    raw, finite = narrow(values, dtype)
    assert finite
    assert raw.size == values.size * {"F32": 4, "BF16": 2}[dtype]
    assert raw[-4:].tolist() == narrow(values[-4:], dtype)[0][-4:].tolist()
