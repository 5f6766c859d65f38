"""The weights of a Hugging Face folder as its safetensors headers describe them."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fusionchat.errors import UserError
from fusionchat.files import read_json_object
from fusionchat.readers.safetensors import TensorInfo, read_header

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
HEAD = "lm_head.weight"
FLOATS = ("F32", "BF16", "F16")


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

    Files that are not the model's (`consolidated.safetensors`, folders like `original/`) do not
    count. Raises `UserError` where the folder is no whole safetensors checkpoint.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder with a model; give a local Hugging Face folder")
    if (folder / "adapter_config.json").exists():
        raise UserError(
            f"{folder} holds an adapter; merge it into its base and save the whole model"
        )
    config = read_json_object(folder / "config.json")
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
    listed = read_json_object(index).get("weight_map")
    if not isinstance(listed, dict) or not all(isinstance(n, str) for n in listed.values()):
        raise UserError(f"{index} has no `weight_map` from tensors to files; copy it again")
    tensors: dict[str, TensorInfo] = {}
    for name in sorted(set(listed.values())):
        if Path(name).name != name:
            raise UserError(f"{index} names {name!r}, which is not a file beside it")
        tensors.update(read_header(index.parent / name))
    if listed.keys() != tensors.keys():
        example = sorted(listed.keys() ^ tensors.keys())[0]
        raise UserError(
            f"{index} does not list the tensors of its files (for example {example}); "
            "the checkpoint is a mixture of two saves: save it again into an empty folder"
        )
    return tensors
