"""Writes a checkpoint tensor by tensor in a layout that is fixed before the first byte."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path
from typing import Any

from fusionchat.errors import UserError
from fusionchat.models.checkpoint import FLOATS, INDEX, SINGLE, Checkpoint
from fusionchat.readers.safetensors import TensorInfo

DTYPE_NAMES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_READ = 1 << 20  # bytes
_FLUSH = 1 << 26  # bytes that are worth a wait for the disk


@dataclass
class _File:
    name: str
    descriptor: int
    reader: FileIO
    hashed: int = 0
    flushed: int = 0
    sha256: Any = field(default_factory=hashlib.sha256)

    def hash_until(self, end: int, buffer: memoryview) -> None:
        """Take in what was written before byte `end`; fresh memory would cost more than hashing."""
        while self.hashed < end:
            part = buffer[: end - self.hashed]
            read = self.reader.readinto(part)
            if not read:
                raise UserError(f"{self.reader.name} was cut off while it was written; merge again")
            self.sha256.update(part[:read])
            self.hashed += read


class CheckpointWriter:
    """Safetensors files in a folder: the headers first, then tensors in any order.

    Tensors go into files of at most `shard_bytes` in the given order. Threads may share a writer.
    Behind what is `finished` one thread takes the files' checksums, while it is in memory, and
    another brings it to the disk, which would stand still until the end otherwise.
    """

    def __init__(self, folder: Path, dtypes: Mapping[str, TensorInfo], shard_bytes: int) -> None:
        self._folder = folder
        self._places: dict[str, tuple[_File, int, int]] = {}
        self._files: list[_File] = []
        self._hashing = ThreadPoolExecutor(1)
        self._flushing = ThreadPoolExecutor(1)
        self._buffer = memoryview(bytearray(_READ))
        self._behind: list[Future[None]] = []
        shards = _shards(dtypes, shard_bytes)
        names = _file_names(len(shards))
        for file_name, tensors in zip(names, shards, strict=True):
            self._start_file(file_name, tensors, dtypes)
        if len(shards) > 1:
            weight_map = {t: n for n, tensors in zip(names, shards, strict=True) for t in tensors}
            total = sum(info.nbytes for info in dtypes.values())
            index = {
                "metadata": {"total_size": total},
                "weight_map": dict(sorted(weight_map.items())),
            }
            (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")

    def _start_file(
        self, file_name: str, tensors: list[str], infos: Mapping[str, TensorInfo]
    ) -> None:
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        position = 0
        for name in tensors:
            end = position + infos[name].nbytes
            header[name] = {
                "dtype": infos[name].dtype,
                "shape": list(infos[name].shape),
                "data_offsets": [position, end],
            }
            position = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        path = self._folder / file_name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        file = _File(file_name, descriptor, FileIO(path))
        self._files.append(file)
        _reserve(descriptor, 8 + len(text) + position)
        _write(descriptor, len(text).to_bytes(8, "little") + text, 0)
        for name in tensors:
            start, end = header[name]["data_offsets"]
            self._places[name] = file, 8 + len(text) + start, 8 + len(text) + end

    def write(self, name: str, start: int, data: bytes | memoryview) -> None:
        """Write bytes of a tensor from its byte `start` on."""
        file, offset, _ = self._places[name]
        _write(file.descriptor, data, offset + start)

    def finished(self, name: str) -> None:
        """A tensor and all before it in its file are written."""
        file, _, end = self._places[name]
        self._behind.append(self._hashing.submit(file.hash_until, end, self._buffer))
        if end - file.flushed >= _FLUSH:
            file.flushed = end
            self._behind.append(self._flushing.submit(os.fsync, file.descriptor))

    def close(self) -> None:
        """Bring the files to the disk and close them."""
        self._flushing.shutdown()
        for file in self._files:
            os.fsync(file.descriptor)
        self._hashing.shutdown()
        for file in self._files:
            file.reader.close()
            os.close(file.descriptor)

    def checksums(self) -> dict[str, str]:
        """The sha256 of each file, once all tensors are `finished` and the writer is closed."""
        for part in self._behind:
            part.result()  # raises what the thread met, such as a full disk
        return {file.name: file.sha256.hexdigest() for file in self._files}


def _reserve(descriptor: int, size: int) -> None:
    """Set a file's size; where the system can (macOS cannot), take its space on the disk, too.

    That makes writing cheaper, and a full disk shows before the work.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


def _write(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    if not view.nbytes:  # a tensor without elements, whose view cannot be cast
        return
    view = view.cast("B")
    while view:
        done = os.pwrite(descriptor, view, offset)
        view, offset = view[done:], offset + done


def _shards(infos: Mapping[str, TensorInfo], shard_bytes: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    size = 0
    for name, info in infos.items():
        if shards[-1] and size + info.nbytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += info.nbytes
    return shards


def _file_names(count: int) -> list[str]:
    if count == 1:
        return [SINGLE]
    return [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]


def output_layout(
    pivot: Checkpoint, targets: Sequence[Mapping[str, TensorInfo]], dtype: str
) -> dict[str, TensorInfo]:
    """The pivot's tensors, the float ones in `dtype`: a type, `pivot` (as they are there), or
    `targets` (each in the finest type that any of the `targets`, by the pivot's names, has).
    """
    layout = {}
    for name, info in pivot.tensors.items():
        types = {DTYPE_NAMES[dtype]} if dtype in DTYPE_NAMES else {info.dtype}
        if dtype == "targets":
            types = {target[name].dtype for target in targets}
        if info.dtype in FLOATS:
            # bfloat16 and float16 have no common type of 16 bits
            info = replace(info, dtype=types.pop() if len(types) == 1 else "F32")
        layout[name] = info
    return layout


def float_type(layout: Mapping[str, TensorInfo]) -> str:
    """The type of the float tensors ("bfloat16"), or float32 where there are several."""
    names = {short: name for name, short in DTYPE_NAMES.items()}
    types = {info.dtype for info in layout.values() if info.dtype in FLOATS}
    return names[types.pop()] if len(types) == 1 else "float32"
