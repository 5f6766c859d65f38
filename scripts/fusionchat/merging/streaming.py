"""Streaming merges: every method goes through the same reading, checking, rounding and writing."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import local
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fusionchat.errors import UserError
from fusionchat.merging import kernels
from fusionchat.merging.checkpoint_writer import CheckpointWriter, output_layout
from fusionchat.merging.inputs import Inputs, not_finite
from fusionchat.merging.tensor_blocks import (
    ContentDigest,
    Narrower,
    TensorStack,
    kernel_values,
)
from fusionchat.models.checkpoint import FLOATS
from fusionchat.readers.safetensors import TensorInfo, TensorReader

Values = NDArray[np.float64]


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
    """Content digests of the inputs, the inputs that the merged model equals, and the sha256 of
    the files that were written.
    """

    digests: dict[str, str]
    equal_to: list[str]
    files: dict[str, str]


@dataclass
class _Worker:
    stack: TensorStack
    narrow: Narrower = field(default_factory=Narrower)
    narrow_input: Narrower = field(default_factory=Narrower)


class Merge:
    """One run of a method over all tensors into a folder."""

    def __init__(
        self,
        inputs: Inputs,
        method: Method,
        dtype: str | None = None,
        advance: Callable[[int], Any] = lambda nbytes: None,
    ) -> None:
        self._inputs = inputs
        self._method = method
        self._sources = inputs.sources(method.reads_pivot)
        self._layout = output_layout(inputs.pivot, dtype)
        self._advance = advance
        self._reader = TensorReader()
        self._workers = local()
        self._equal = dict.fromkeys(self._sources, True)

    def run(self, folder: Path, shard_bytes: int, threads: int = 1) -> Outcome:
        """Write the merged safetensors files into `folder`; digests are of the float tensors."""
        digests = {source: ContentDigest() for source in self._sources}
        with (
            closing(self._reader),
            closing(CheckpointWriter(folder, self._layout, shard_bytes)) as writer,
        ):
            for name, found in self._merge_all(writer, threads):
                writer.finished(name)
                for source, digest in zip(self._sources, found, strict=bool(found)):
                    digests[source].add(self._inputs.tensor(source, name), digest)
        equal = [source for source, same in self._equal.items() if same]
        read = {source: digest.hexdigest() for source, digest in digests.items()}
        return Outcome(read, equal, writer.checksums())

    def _merge_all(self, writer: CheckpointWriter, threads: int) -> Iterator[tuple[str, list[str]]]:
        def merge_one(name: str) -> list[str]:
            if self._layout[name].dtype in FLOATS:
                return self._merge_tensor(name, writer)
            self._copy_tensor(name, writer)
            return []

        if threads == 1:
            yield from zip(self._layout, map(merge_one, self._layout), strict=True)
        else:
            with ThreadPoolExecutor(threads) as pool:
                yield from zip(self._layout, pool.map(merge_one, self._layout), strict=True)

    def _worker(self) -> _Worker:
        if not hasattr(self._workers, "own"):
            stack = TensorStack(self._reader, len(self._sources))
            self._workers.own = _Worker(stack)
        return self._workers.own

    def _merge_tensor(self, name: str, writer: CheckpointWriter) -> list[str]:
        infos = [self._inputs.tensor(source, name) for source in self._sources]
        worker = self._worker()
        dtype = self._layout[name].dtype
        position = 0
        stack = worker.stack.open(infos)
        for values in self._method.merge_tensor(name, stack):
            raw, finite = worker.narrow(values, dtype)
            if not finite:
                raise UserError(not_finite(self._sources.values(), name))
            self._compare(worker, infos, raw, dtype)
            writer.write(name, position, raw.data)
            position += raw.size
        self._advance(sum(info.nbytes for info in infos))
        return stack.digests()

    def _compare(
        self, worker: _Worker, infos: list[TensorInfo], raw: NDArray[np.uint8], dtype: str
    ) -> None:
        for row, (source, info) in enumerate(zip(self._sources, infos, strict=True)):
            if self._equal[source]:
                own = worker.stack.raw_block[row]
                if info.dtype != dtype:
                    values = kernel_values(own, info.dtype)
                    exact = np.empty(values.size)
                    kernels.add_weighted(values, 1.0, True, exact)
                    own, _ = worker.narrow_input(exact, dtype)
                if not np.array_equal(raw, own):  # never set back to True: threads share it
                    self._equal[source] = False

    def _copy_tensor(self, name: str, writer: CheckpointWriter) -> None:
        """Counters and the like, which have no mean: all inputs must agree."""
        mine = self._reader.map(self._inputs.pivot.tensors[name])
        infos = {source: self._inputs.tensor(source, name) for source in self._sources}
        for source, info in infos.items():
            if not np.array_equal(self._reader.map(info), mine):
                raise UserError(
                    f"{self._sources[source].folder}: {name} has the type {info.dtype} and differs "
                    f"from the pivot's; only {', '.join(FLOATS)} are merged, the rest must be equal"
                )
        writer.write(name, 0, mine.data)
        self._advance(sum(info.nbytes for info in infos.values()))


class LinearMerge:
    """sum_j w_j theta_j with fixed weights that sum to one."""

    name = "linear"
    reads_pivot = False

    def __init__(self, weights: Values) -> None:
        self._weights = weights / weights.sum()
        self.effective: dict[str, Values] = {}

    def unit(self, name: str) -> str:
        """All tensors have the same weights."""
        return "model"

    def merge_tensor(self, name: str, stack: TensorStack) -> Iterator[Values]:
        """The merged tensor, block by block."""
        self.effective[name] = self._weights
        for targets in stack.raw_blocks():
            yield stack.weighted_sum(targets, self._weights)
