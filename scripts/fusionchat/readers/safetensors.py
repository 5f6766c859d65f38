"""Safetensors files: headers, and tensors mapped into memory.

Neither torch nor transformers is needed: a file is an 8-byte length, a JSON header and the raw
little-endian tensors, so any tensor can be mapped into memory and read block by block.
"""

import json
import math
import mmap
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusionchat.errors import UserError

ITEM_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "C64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2,
    "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
}  # fmt: skip
_LARGEST_HEADER = 100 * 2**20
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies: its file, the offset of its first byte there, its dtype and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    offset: int

    @property
    def elements(self) -> int:
        """Number of elements; 1 for a scalar."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.elements * ITEM_BYTES[self.dtype]


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors of one safetensors file by name, in file order.

    Their bytes must fill the file without gap or overlap, as the format demands; a file that is cut
    off, a Git LFS pointer or any other file is a `UserError`.
    """
    try:
        facts = path.stat()
        size = facts.st_size
        if not (stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)):
            raise UserError(f"{path} is no regular file (a pipe would never end); put a copy there")
        with path.open("rb") as stream:
            start = stream.read(len(_LFS_POINTER))
            length = int.from_bytes(start[:8], "little")
            _check_start(path, start, length, size)
            stream.seek(8)
            header = json.loads(stream.read(length))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; the checkpoint is not complete") from error
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder, not a safetensors file") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} has a broken header: {error}; copy the file again") from error
    if not isinstance(header, dict):
        raise UserError(f"{path} has a broken header: no JSON object; copy the file again")
    header.pop("__metadata__", None)
    infos = [_tensor_info(path, 8 + length, name, entry) for name, entry in header.items()]
    infos.sort(key=lambda info: (info.offset, info.nbytes))
    _check_layout(path, infos, 8 + length, size)
    return {info.name: info for info in infos}


def _check_start(path: Path, start: bytes, length: int, size: int) -> None:
    if start == _LFS_POINTER:
        raise UserError(f"{path} is a Git LFS pointer, not the file; fetch it with `git lfs pull`")
    if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
        raise UserError(f"{path} is not a safetensors file, or it is cut off")


def _tensor_info(path: Path, start: int, name: str, entry: Any) -> TensorInfo:
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
            raise ValueError("sizes and offsets must be whole numbers")
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"{path}: the header's entry of {name} is broken: {error!r}") from error
    if dtype not in ITEM_BYTES:
        raise UserError(f"{path}: tensor {name} has the unsupported type {dtype}")
    info = TensorInfo(name, dtype, shape, path, start + begin)
    if info.nbytes != end - begin:
        raise UserError(f"{path}: tensor {name} has {end - begin} bytes, its shape {info.nbytes}")
    return info


def _check_layout(path: Path, infos: list[TensorInfo], start: int, size: int) -> None:
    """Every byte behind the header must belong to exactly one of the sorted tensors."""
    end = max((info.offset + info.nbytes for info in infos), default=start)
    if end != size:
        raise UserError(f"{path} has {size} bytes where its header needs {end}; copy it again")
    position = start
    for info in infos:
        if info.offset != position:
            fault = "overlaps" if info.offset < position else "leaves a gap behind"
            raise UserError(f"{path}: tensor {info.name} {fault} the one before it; save it again")
        position += info.nbytes


class TensorReader:
    """Maps tensors into memory; keeps files open. Threads may share one."""

    def __init__(self) -> None:
        self._files: dict[Path, int] = {}
        self._opening = Lock()

    def map(self, info: TensorInfo) -> NDArray[np.uint8]:
        """The tensor's bytes, read from the file where they are looked at, without a copy.

        The memory is given back with the last reference to the array. Writing to the array would
        not reach the file.
        """
        if info.nbytes == 0:
            return np.empty(0, np.uint8)
        with self._opening:
            if info.path not in self._files:
                self._files[info.path] = os.open(info.path, os.O_RDONLY)
        skipped = info.offset % mmap.ALLOCATIONGRANULARITY
        mapped = mmap.mmap(
            self._files[info.path],
            skipped + info.nbytes,
            access=mmap.ACCESS_COPY,
            offset=info.offset - skipped,
        )
        mapped.madvise(mmap.MADV_WILLNEED)
        return np.frombuffer(mapped, np.uint8, info.nbytes, skipped)

    def close(self) -> None:
        """Close all files; mapped tensors stay valid."""
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()
