"""The same tensor of several checkpoints, block by block in float32, and the way back to bytes."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

from fusionchat.merging import kernels
from fusionchat.readers.safetensors import ITEM_BYTES, TensorInfo, TensorReader

BLOCK = 1 << 17  # elements; a block's buffers stay in the cache, its Python calls cost little
Block = NDArray[np.float32]
Values = NDArray[np.float64]
DROPPED = {"F32": 29, "F16": 42, "BF16": 45}  # bits that a float64 loses in a type
_FLOAT64_BITS = 53
_BITS = {"float32": 24, "uint16": 8}  # significant ones of the kernels' values
_NUMPY = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


class TensorStack:
    """One tensor of several inputs as float32 blocks [inputs, n], with the digest of each input.

    The tensors are mapped, so that a second round of `blocks` finds them in memory. `raw_block`
    holds the current block of each input as it lies in the files. Buffers are reused from tensor to
    tensor: fresh memory costs more than the arithmetic.
    """

    def __init__(self, reader: TensorReader, inputs: int) -> None:
        self._reader = reader
        self._tensors: list[NDArray[np.uint8]] = []
        self._blocks = np.empty((inputs, BLOCK), np.float32)
        self._values = np.empty(BLOCK)
        self.raw_block: list[NDArray[np.uint8]] = []
        self._infos: Sequence[TensorInfo] = ()
        self._digests: list[xxhash.xxh3_128] = []
        self._hashed = False
        self._near = np.empty(BLOCK, np.int64)
        self._dropped = DROPPED["F32"]

    def open(self, infos: Sequence[TensorInfo], result: str = "F32") -> "TensorStack":
        """Turn to the next tensor: one entry per input, equal shapes; `result` is its new type."""
        self._infos = infos
        self._dropped = DROPPED[result]
        self._tensors = [self._reader.map(info) for info in infos]
        self._digests = [xxhash.xxh3_128() for _ in infos]
        self._hashed = False
        return self

    @property
    def inputs(self) -> int:
        """Number of checkpoints."""
        return len(self._infos)

    @property
    def elements(self) -> int:
        """Elements of the tensor."""
        return self._infos[0].elements

    def raw_blocks(self) -> Iterator[list[kernels.Values]]:
        """Blocks [n] of each input as the kernels take them: float32, or bfloat16 as uint16.

        The first round takes the digests of all inputs.
        """
        for start in range(0, self.elements, BLOCK):
            stop = min(start + BLOCK, self.elements)
            self.raw_block = [
                tensor[start * ITEM_BYTES[info.dtype] : stop * ITEM_BYTES[info.dtype]]
                for tensor, info in zip(self._tensors, self._infos, strict=True)
            ]
            if not self._hashed:
                for digest, raw in zip(self._digests, self.raw_block, strict=True):
                    digest.update(raw.data)
            yield [
                kernel_values(raw, info.dtype)
                for raw, info in zip(self.raw_block, self._infos, strict=True)
            ]
        self._hashed = True

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
        result = self.result(targets[0].size)
        for number, (target, weight) in enumerate(zip(targets, weights, strict=True)):
            kernels.add_weighted(target, weight, number == 0, result)
        return result

    def weighted_mean(self, targets: Sequence[kernels.Values], weights: Values) -> Values:
        """sum_j w_j theta_j / sum_j w_j of raw blocks, in the reused buffer.

        Weights as given, not divided before: they are exact then. Near a tie of the result's type
        the side is decided with more than float64's precision, so that one rounding is correct.
        """
        result = self.weighted_sum(targets, weights)
        total = weights.sum()
        if total != 1:
            result /= total
        places = self._doubtful(targets, weights, result)
        if places.size:
            values = np.empty((len(targets), places.size), np.float32)
            for row, target in zip(values, targets, strict=True):
                widen(target[places], row)
            kernels.settle_ties(result, places, self._dropped, values.astype(np.float64), weights)
        return result

    def _doubtful(
        self, targets: Sequence[kernels.Values], weights: Values, mean: Values
    ) -> NDArray[np.int64]:
        """Places near a tie where the sum of the products may not be exact.

        Where it is, float64's quotient is on the right side already. Equal weights make every
        fourth mean of two bfloat16 numbers a tie.
        """
        spread = exact_spread(weights, max(_BITS[target.dtype.name] for target in targets))
        if spread > 0 and _within(targets, spread):
            return self._near[:0]
        places = self._near[: kernels.near_ties(mean, self._dropped, self._near)]
        if not places.size or spread <= 0:
            return places
        low, high = np.full(places.size, np.inf), np.zeros(places.size)
        for target in targets:
            kernels.add_range(target, places, low, high)
        return places[low < high * 2.0**-spread]

    def placed_blocks(self) -> Iterator[tuple[int, Block]]:
        """Blocks with the position of their first element."""
        position = 0
        for block in self.blocks():
            yield position, block
            position += block.shape[1]

    def digests(self) -> list[str]:
        """The xxh3-128 of each input's raw tensor, once all blocks have been read."""
        return [digest.hexdigest() for digest in self._digests]


def _within(targets: Sequence[kernels.Values], spread: int) -> bool:
    """Whether no two magnitudes above zero in all the `targets` are more than 2^spread apart."""
    ends = np.empty((len(targets), 2), np.float32)
    for row, target in zip(ends, targets, strict=True):
        bits = np.empty(2, f"u{target.itemsize}")
        kernels.magnitude_range(target.view(bits.dtype), bits)
        widen(bits.view(target.dtype), row)
    ends = ends[ends[:, 1] != 0].astype(np.float64)  # NaN is not within anything
    return not ends.size or bool(ends[:, 0].min() >= ends[:, 1].max() * 2.0**-spread)


def exact_spread(weights: Values, bits: int) -> int:
    """How many powers of two may lie between values of so many significant bits [targets], if
    float64 is to hold sum_j w_j theta_j exactly; 0 or less where it may not even for equal ones.
    """
    ratios = [float(weight).as_integer_ratio() for weight in weights]
    unit = max(denominator for _, denominator in ratios)
    whole = [abs(number) * (unit // denominator) for number, denominator in ratios]
    largest = max(whole) // (math.gcd(*whole) or 1)
    return _FLOAT64_BITS - bits - largest.bit_length() - len(whole).bit_length()


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


class Narrower:
    """Rounds float64 blocks to a float dtype, once, to nearest even; returns a reused buffer."""

    def __init__(self) -> None:
        self._buffer = np.empty(BLOCK, np.float32)

    def __call__(self, values: Values, dtype: str) -> tuple[NDArray[np.uint8], bool]:
        """Bytes of `values` [n] in `dtype`, and whether all are finite there."""
        if values.size > self._buffer.size:
            self._buffer = np.empty(values.size, np.float32)
        result = self._buffer.view(_NUMPY[dtype])[: values.size]
        if dtype == "BF16":
            finite = kernels.narrow_bf16(values, result)
        else:
            with np.errstate(over="ignore"):
                result[:] = values
            finite = bool(np.isfinite(result).all())
        return result.view(np.uint8), finite


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
