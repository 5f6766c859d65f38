"""The same tensor of several checkpoints, block by block in float32, and the way back to bytes."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import xxhash
from numpy.typing import NDArray

from fusionchat.merging import kernels
from fusionchat.readers.safetensors import ITEM_BYTES, TensorInfo, TensorReader

BLOCK = 1 << 18  # elements; buffers of 2 MiB stay in the last cache, Python's calls cost little
Block = NDArray[np.float32]
Values = NDArray[np.float64]
_FLOAT64_BITS = 53  # significant ones
_NUMPY = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


@dataclass(frozen=True)
class FloatFormat:
    """A float type: significant bits, exponent of its smallest number above zero, largest number.

    Rounding a float64 to it: `kernels.narrow`.
    """

    bits: int
    smallest: int
    largest: float

    @property
    def anchors(self) -> tuple[float, float]:
        """What the kernels round with: the factor from a power of two to its anchor, the least."""
        return 2.0 ** (_FLOAT64_BITS - self.bits), 2.0 ** (_FLOAT64_BITS - 1 + self.smallest)


FORMATS = {
    "F32": FloatFormat(24, -149, float(np.finfo(np.float32).max)),
    "F16": FloatFormat(11, -24, float(np.finfo(np.float16).max)),
    "BF16": FloatFormat(8, -133, 2.0**128 - 2.0**120),
}


class TensorStack:
    """One tensor of several inputs as float32 blocks [inputs, n], with the digest of each input.

    The tensors are mapped, so that a second round of `blocks` finds them in memory. A thread takes
    the digests, and so brings the tensors there ahead of the blocks. `raw_block` holds the current
    block of each input as it lies in the files. Buffers are reused from tensor to tensor: fresh
    memory costs more than the arithmetic.
    """

    def __init__(self, reader: TensorReader, inputs: int) -> None:
        self._reader = reader
        self._tensors: list[NDArray[np.uint8]] = []
        self._blocks = np.empty((inputs, BLOCK), np.float32)
        self._values = np.empty(BLOCK)
        self.raw_block: list[NDArray[np.uint8]] = []
        self._infos: Sequence[TensorInfo] = ()
        self._digesting = ThreadPoolExecutor(1)
        self._digests: list[Future[str]] = []
        self._near = np.empty(BLOCK, np.int64)
        self._errors = np.empty(BLOCK)
        self._result = FORMATS["F32"]

    def open(self, infos: Sequence[TensorInfo], result: str = "F32") -> "TensorStack":
        """Turn to the next tensor: one entry per input, equal shapes; `result` is its new type."""
        self._infos = infos
        self._result = FORMATS[result]
        self._tensors, self.raw_block = [], []  # the last ones leave the memory first
        self._tensors = [self._reader.map(info) for info in infos]
        self._digests = [self._digesting.submit(self._digest, n) for n in range(len(infos))]
        return self

    def _digest(self, number: int) -> str:
        # not given the tensor, which a thread would hold a moment longer, beside the next one
        return xxhash.xxh3_128(self._tensors[number].data).hexdigest()

    @property
    def inputs(self) -> int:
        """Number of checkpoints."""
        return len(self._infos)

    @property
    def elements(self) -> int:
        """Elements of the tensor."""
        return self._infos[0].elements

    def raw_blocks(self) -> Iterator[list[kernels.Values]]:
        """Blocks [n] of each input as the kernels take them: float32, or bfloat16 as uint16."""
        for start in range(0, self.elements, BLOCK):
            stop = min(start + BLOCK, self.elements)
            self.raw_block = [
                tensor[start * ITEM_BYTES[info.dtype] : stop * ITEM_BYTES[info.dtype]]
                for tensor, info in zip(self._tensors, self._infos, strict=True)
            ]
            yield [
                kernel_values(raw, info.dtype)
                for raw, info in zip(self.raw_block, self._infos, strict=True)
            ]

    def blocks(self) -> Iterator[Block]:
        """Float32 blocks [inputs, n]; a block is valid until the next one."""
        for values in self.raw_blocks():
            block = self._blocks[:, : values[0].size]
            for row, stored in zip(block, values, strict=True):
                widen(stored, row)
            yield block

    def result(self, size: int) -> Values:
        """A reused float64 buffer [size] for the merged block."""
        return self._values[:size]

    def weighted_sum(self, targets: Sequence[kernels.Values], weights: Values) -> Values:
        """sum_j weights[j] targets[j] of raw blocks, in the reused buffer."""
        return self._add_up(targets, weights)[0]

    def weighted_mean(
        self, targets: Sequence[kernels.Values], weights: Values, exact_products: bool
    ) -> Values:
        """sum_j w_j theta_j / sum_j w_j of raw blocks, in the reused buffer.

        On the right side of each tie of the result's type, so that one rounding is correct. Where
        products and sums are exact, the quotient is; elsewhere the side of the ties nearby is
        decided with more than float64's precision.
        """
        result, exact_sums = self._add_up(targets, weights)
        total = weights.sum()
        if total != 1:
            result /= total
        if not (exact_products and exact_sums):
            self._settle_ties(result, targets, weights, total)
        return result

    def _add_up(self, targets: Sequence[kernels.Values], weights: Values) -> tuple[Values, bool]:
        result, exact_sums = self.result(targets[0].size), True
        for number, (target, weight) in enumerate(zip(targets, weights, strict=True)):
            exact_sums &= kernels.add_weighted(target, weight, number == 0, result)
        return result, exact_sums

    def _settle_ties(
        self, mean: Values, targets: Sequence[kernels.Values], weights: Values, total: float
    ) -> None:
        errors = self._errors[: mean.size]
        errors[:] = 0
        for target, weight in zip(targets, weights, strict=True):
            kernels.add_magnitudes(target, weight, errors)
        # products, sums, their number and the quotient: each rounded once, with a margin of two
        errors *= (len(targets) + 2) * 2.0 ** (1 - _FLOAT64_BITS) / abs(total)
        count = kernels.near_ties(mean, errors, *self._result.anchors, self._near)
        places = self._near[:count]
        if places.size:
            values = np.empty((len(targets), places.size), np.float32)
            for row, target in zip(values, targets, strict=True):
                widen(target[places], row)
            kernels.settle_ties(
                mean, places, *self._result.anchors, values.astype(np.float64), weights
            )

    def placed_blocks(self) -> Iterator[tuple[int, Block]]:
        """Blocks with the position of their first element."""
        position = 0
        for block in self.blocks():
            yield position, block
            position += block.shape[1]

    def digests(self) -> list[str]:
        """The xxh3-128 of each input's raw tensor, before the next one is opened."""
        return [digest.result() for digest in self._digests]


def whole_weights(weights: Values) -> Values | None:
    """The smallest whole numbers in the ratio of the weights [targets].

    None where float64 does not hold their products with float32 values and their sum exactly.
    """
    ratios = [float(weight).as_integer_ratio() for weight in weights]
    unit = max(denominator for _, denominator in ratios)
    whole = [number * (unit // denominator) for number, denominator in ratios]
    divisor = math.gcd(*whole) or 1
    if max(map(abs, whole)) // divisor >= 1 << (_FLOAT64_BITS - FORMATS["F32"].bits):
        return None
    return np.array([number // divisor for number in whole], np.float64)


def kernel_values(raw: NDArray[np.uint8], dtype: str) -> kernels.Values:
    """Raw little-endian bytes of a float tensor as float32, or bfloat16 bits as uint16."""
    values = raw.view(_NUMPY[dtype])
    if dtype == "F16":
        return values.astype(np.float32)
    # some programs do not pad the header of their files
    return values if values.flags.aligned else values.copy()


def stored_type(values: kernels.Values, dtype: str) -> str:
    """The coarsest type that holds all values [n] of a tensor: a float32 file may be a rounded one.

    A look at the first ones spares nearly every tensor the whole way.
    """
    if dtype != "F32":
        return dtype
    bits = values.view(np.uint32)
    for part in (bits[:64], bits):
        tail = int(np.bitwise_or.reduce(part))
        if tail & 0x1FFF:
            return "F32"
    if not tail & 0xFFFF:
        return "BF16"
    largest = float(np.abs(values).max())
    return "F16" if largest <= float(np.finfo(np.float16).max) else "F32"


def widen(values: kernels.Values, result: Block) -> None:
    """Values as the kernels take them to float32, exactly."""
    if values.dtype == np.uint16:
        kernels.widen_bf16(values, result)
    else:
        result[:] = values


def narrow(values: Values, dtype: str) -> tuple[NDArray[np.uint8], bool]:
    """Float64 `values` [n] rounded once, to nearest even: bytes in `dtype`, whether all finite."""
    form, result = FORMATS[dtype], _cells(values.size, dtype)
    finite = kernels.narrow(values, *form.anchors, form.largest, result)
    return _stored_bytes(result, dtype), finite


def narrow_and_count(
    values: Values, dtype: str, pivot: kernels.Values, sums: Values
) -> tuple[NDArray[np.uint8], bool]:
    """The same, and what rounding takes from the change added to `sums` [4]."""
    form, result = FORMATS[dtype], _cells(values.size, dtype)
    finite = kernels.narrow_and_count(values, pivot, *form.anchors, form.largest, result, sums)
    return _stored_bytes(result, dtype), finite


def converted(values: kernels.Values, dtype: str) -> NDArray[np.uint8]:
    """Values as the kernels take them, rounded to another type: its bytes."""
    exact = np.empty(values.size)
    kernels.add_weighted(values, 1.0, True, exact)
    return narrow(exact, dtype)[0]


def _cells(size: int, dtype: str) -> kernels.Values:
    """An array as the kernels fill it: bfloat16 as its bits, all else as float32.

    The caller may keep it; memory of a block's size is handed out again without a fault.
    """
    return np.empty(size, np.uint16) if dtype == "BF16" else np.empty(size, np.float32)


def _stored_bytes(values: kernels.Values, dtype: str) -> NDArray[np.uint8]:
    with np.errstate(over="ignore"):
        return values.astype(_NUMPY[dtype], copy=False).view(np.uint8)


class ContentDigest:
    """Identity of a checkpoint's float tensors, whatever files they are spread over: xxh3-128."""

    def __init__(self) -> None:
        self._tensors: dict[str, tuple[TensorInfo, str]] = {}

    def add(self, info: TensorInfo, digest: str) -> None:
        """Take in the digest of a tensor's raw bytes."""
        self._tensors[info.name] = (info, digest)

    def hexdigest(self) -> str:
        """Digest of all tensors' names, dtypes, shapes and contents, in the order of names."""
        result = xxhash.xxh3_128()
        for name, (info, digest) in sorted(self._tensors.items()):
            result.update(f"{name}\t{info.dtype}\t{list(info.shape)}\t{digest}\n".encode())
        return result.hexdigest()
