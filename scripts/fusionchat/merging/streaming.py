"""Streaming merges: every method goes through the same reading, checking, rounding and writing."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import local
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fusionchat.errors import UserError
from fusionchat.merging import kernels
from fusionchat.merging.checkpoint_writer import DTYPE_NAMES, CheckpointWriter
from fusionchat.merging.inputs import PIVOT, Inputs, not_finite
from fusionchat.merging.rounding import Rounding, Sums
from fusionchat.merging.tensor_blocks import (
    FORMATS,
    ContentDigest,
    TensorStack,
    converted,
    kernel_values,
    narrow_and_count,
    stored_type,
)
from fusionchat.models.checkpoint import FLOATS
from fusionchat.readers.safetensors import ITEM_BYTES, TensorInfo, TensorReader

Values = NDArray[np.float64]
_LONG = {short: name for name, short in DTYPE_NAMES.items()}


class Method(Protocol):
    """A way of merging one tensor.

    `reads_pivot`: row 0 of each block is the pivot, the targets follow; else rows are the targets.
    `effective`: weights [targets] that each tensor was merged with, filled while merging (threads
    may do that in any order).
    """

    name: str
    reads_pivot: bool
    effective: dict[str, Values]

    def unit(self, name: str) -> str:
        """The unit that a tensor shares its weights with."""
        ...

    def merge_tensor(self, name: str, stack: TensorStack) -> Iterator[Values]:
        """The merged tensor as float64 blocks of the stack's block size."""
        ...


@dataclass
class Outcome:
    """Content digests of the inputs, the inputs that the merged model equals, the sha256 of the
    files that were written, and what rounding took.
    """

    digests: dict[str, str]
    equal_to: list[str]
    files: dict[str, str]
    rounding: Rounding


@dataclass
class _Merged:
    """What is known of one tensor when it is merged; empty for one that was copied."""

    digests: list[str] = field(default_factory=list)
    loss: Sums = field(default_factory=lambda: np.zeros(4))
    coarse: dict[str, Sums] = field(default_factory=dict)


class Merge:
    """One run of a method over all tensors; `layout` names the tensors and types to write."""

    def __init__(
        self,
        inputs: Inputs,
        method: Method,
        layout: Mapping[str, TensorInfo] | None = None,
        advance: Callable[[int], Any] = lambda nbytes: None,
    ) -> None:
        self._inputs = inputs
        self._method = method
        self._sources = inputs.read(method.reads_pivot)
        self._layout = layout or inputs.pivot.tensors
        self._advance = advance
        self._reader = TensorReader()
        self._threads = local()
        self._equal = dict.fromkeys(self._sources, True)

    def run(self, folder: Path | None, shard_bytes: int = 0, threads: int = 1) -> Outcome:
        """Write the merged safetensors files into `folder`, or write nothing if there is none."""
        digests = {source: ContentDigest() for source in self._sources}
        losses: dict[str, Sums] = {}
        coarse: dict[str, Sums] = {}
        with ExitStack() as stack:
            stack.enter_context(closing(self._reader))
            writer = None
            if folder:
                new = CheckpointWriter(folder, self._layout, shard_bytes)
                writer = stack.enter_context(closing(new))
            for name, merged in self._merge_all(writer, threads):
                if writer:
                    writer.finished(name)
                for source, digest in zip(
                    self._sources, merged.digests, strict=bool(merged.digests)
                ):
                    digests[source].add(self._inputs.tensor(source, name), digest)
                if merged.digests:
                    losses[name] = merged.loss
                for target, sums in merged.coarse.items():
                    coarse[target] = coarse.get(target, 0) + sums
        equal = [source for source, same in self._equal.items() if same]
        read = {source: digest.hexdigest() for source, digest in digests.items()}
        types = sorted({_LONG[self._layout[name].dtype] for name in losses})
        return Outcome(
            read,
            equal,
            writer.checksums() if writer else {},
            Rounding.of(" and ".join(types), losses, coarse),
        )

    def _merge_all(
        self, writer: CheckpointWriter | None, threads: int
    ) -> Iterator[tuple[str, _Merged]]:
        def merge_one(name: str) -> _Merged:
            if self._layout[name].dtype in FLOATS:
                return self._merge_tensor(name, writer)
            self._copy_tensor(name, writer)
            return _Merged()

        if threads == 1:
            yield from zip(self._layout, map(merge_one, self._layout), strict=True)
        else:
            with ThreadPoolExecutor(threads) as pool:
                yield from zip(self._layout, pool.map(merge_one, self._layout), strict=True)

    def _stack(self) -> TensorStack:
        """Each thread's own, whose buffers it fills again for each tensor."""
        if not hasattr(self._threads, "stack"):
            self._threads.stack = TensorStack(self._reader, len(self._sources))
        return self._threads.stack

    def _merge_tensor(self, name: str, writer: CheckpointWriter | None) -> _Merged:
        infos = [self._inputs.tensor(source, name) for source in self._sources]
        merged = _Merged()
        dtype, pivot = self._layout[name].dtype, self._inputs.pivot.tensors[name]
        mapped = None if self._method.reads_pivot else self._reader.map(pivot)
        position = begin = 0
        stack = self._stack().open(infos, dtype)
        for values in self._method.merge_tensor(name, stack):
            size = values.size * ITEM_BYTES[pivot.dtype]
            bare = stack.raw_block[0] if mapped is None else mapped[begin : begin + size]
            base = kernel_values(bare, pivot.dtype)
            raw, finite = narrow_and_count(values, dtype, base, merged.loss)
            if not finite:
                raise UserError(not_finite(self._sources.values(), name))
            self._compare(stack, infos, raw, dtype)
            self._add_coarse(stack, infos, base, pivot.dtype, merged)
            if writer:
                writer.write(name, position, raw.data)
            position, begin = position + raw.size, begin + size
        self._advance(sum(info.nbytes for info in infos))
        merged.digests = stack.digests()
        return merged

    def _add_coarse(
        self,
        stack: TensorStack,
        infos: list[TensorInfo],
        base: kernels.Values,
        dtype: str,
        merged: _Merged,
    ) -> None:
        """For targets in a coarser type than the pivot: the pivot's rounding, and the change."""
        for raw, source, info in zip(stack.raw_block, self._sources, infos, strict=True):
            if source == PIVOT or dtype == "BF16":
                continue
            target = kernel_values(raw, info.dtype)
            stored = stored_type(target, info.dtype)
            if FORMATS[stored].bits < FORMATS[dtype].bits:
                rounded = converted(base, stored)
                noise = kernels.squared_change(base, kernel_values(rounded, stored))
                if noise > 0:
                    sums = merged.coarse.setdefault(source, np.zeros(2))
                    sums += (noise, kernels.squared_change(base, target))

    def _compare(
        self, stack: TensorStack, infos: list[TensorInfo], raw: NDArray[np.uint8], dtype: str
    ) -> None:
        for row, (source, info) in enumerate(zip(self._sources, infos, strict=True)):
            if self._equal[source]:
                stored = stack.raw_block[row]
                if info.dtype != dtype:
                    stored = converted(kernel_values(stored, info.dtype), dtype)
                if not np.array_equal(raw, stored):  # never set back to True: threads share it
                    self._equal[source] = False

    def _copy_tensor(self, name: str, writer: CheckpointWriter | None) -> None:
        """Counters and the like, which have no mean: all inputs must agree."""
        pivot = self._reader.map(self._inputs.pivot.tensors[name])
        infos = {source: self._inputs.tensor(source, name) for source in self._sources}
        for source, info in infos.items():
            if not np.array_equal(self._reader.map(info), pivot):
                raise UserError(
                    f"{self._sources[source].folder}: {name} has the type {info.dtype} and differs "
                    f"from the pivot's; only {', '.join(FLOATS)} are merged, the rest must be equal"
                )
        if writer:
            writer.write(name, 0, pivot.data)
        self._advance(sum(info.nbytes for info in infos.values()))
