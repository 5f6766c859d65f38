"""Hugging Face checkpoints, read tensor by tensor straight from their safetensors files.

Neither torch nor transformers is needed: a safetensors file is an 8-byte length, a JSON header and
the raw little-endian tensors, so any tensor can be mapped into memory and read block by block.
"""

import json
import math
import mmap
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusionchat.errors import UserError
from fusionchat.files import read_json

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
ITEM_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2,
    "U16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
HEAD = "lm_head.weight"
FLOATS = ("F32", "BF16", "F16")
_LARGEST_HEADER = 100 * 2**20


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


@dataclass(frozen=True)
class Checkpoint:
    """A folder with config.json and safetensors files; tensors are in the order of the files."""

    folder: Path
    tensors: dict[str, TensorInfo]
    config: dict[str, Any]

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(info.nbytes for info in self.tensors.values())

    @cached_property
    def elements(self) -> int:
        """Elements of all tensors."""
        return sum(info.elements for info in self.tensors.values())

    @property
    def tied(self) -> bool:
        """Whether the output layer shares the input embedding.

        Where config.json leaves that to the model class, a missing output layer tells.
        """
        return bool(self.config.get("tie_word_embeddings", HEAD not in self.tensors))


def open_checkpoint(folder: str | os.PathLike[str]) -> Checkpoint:
    """Read the headers of all safetensors files of a Hugging Face folder, and its config.json.

    Raises `UserError` where the folder is no whole safetensors checkpoint.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder with a model; give a local Hugging Face folder")
    if (folder / "adapter_config.json").exists():
        raise UserError(
            f"{folder} holds an adapter; merge it into its base and save the whole model"
        )
    config = read_json(folder / "config.json")
    if (folder / SINGLE).exists():  # before an index, as in transformers
        tensors = read_header(folder / SINGLE)
    elif (folder / INDEX).exists():
        tensors = _read_shards(folder / INDEX)
    else:
        raise UserError(
            f"{folder} has no {SINGLE} and no {INDEX}; turn pickled weights into safetensors with "
            "convert_checkpoint.py, or load the model in transformers and save it again"
        )
    return Checkpoint(folder, tensors, config)


def _read_shards(index: Path) -> dict[str, TensorInfo]:
    """The tensors of all files of an index, which must list each of them."""
    listed = read_json(index)["weight_map"]
    tensors: dict[str, TensorInfo] = {}
    for name in sorted(set(listed.values())):
        tensors.update(read_header(index.parent / name))
    if listed.keys() != tensors.keys():
        example = sorted(listed.keys() ^ tensors.keys())[0]
        raise UserError(
            f"{index} does not list the tensors of its files (for example {example}); "
            "the checkpoint is a mixture of two saves: save it again into an empty folder"
        )
    return tensors


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors of one safetensors file by name, in file order; checks that the file is whole."""
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
                raise UserError(f"{path} is not a safetensors file, or it is cut off")
            header = json.loads(stream.read(length))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; the checkpoint is not complete") from error
    except ValueError as error:
        raise UserError(f"{path} has a broken header: {error}; copy the file again") from error
    header.pop("__metadata__", None)
    entries = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    found = {name: _tensor_info(path, 8 + length, name, entry) for name, entry in entries}
    end = max((info.offset + info.nbytes for info in found.values()), default=8 + length)
    if end != size:
        raise UserError(f"{path} has {size} bytes where its header needs {end}; copy it again")
    return found


def _tensor_info(path: Path, start: int, name: str, entry: dict[str, Any]) -> TensorInfo:
    if entry["dtype"] not in ITEM_BYTES:
        raise UserError(f"{path}: tensor {name} has the unsupported type {entry['dtype']}")
    begin, end = entry["data_offsets"]
    info = TensorInfo(name, entry["dtype"], tuple(entry["shape"]), path, start + begin)
    if info.nbytes != end - begin:
        raise UserError(f"{path}: tensor {name} has {end - begin} bytes, its shape {info.nbytes}")
    return info


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
