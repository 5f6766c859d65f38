"""The weights of a Hugging Face folder as its safetensors headers describe them."""

import os
import re
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fusionchat.errors import UserError
from fusionchat.files import read_json_object
from fusionchat.models.finished import check_unchanged
from fusionchat.models.names import canonical_names, is_computed
from fusionchat.readers.safetensors import TensorInfo, TensorReader, read_header

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
HEAD = "lm_head.weight"
_HEADS = ("lm_head.weight", "embed_out.weight", "output.weight", "head.weight")
_LAYER = re.compile(r"(?:layers|h|blocks|block)\.(\d+)\.")
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
FLOATS = ("F32", "BF16", "F16")
_UNPACKED = (*FLOATS, "F64")  # types of weights that are not quantised


@dataclass(frozen=True)
class Checkpoint:
    """A folder with config.json and safetensors files; tensors are in the order of the files.

    `computed` are the names of stored buffers that are computed anew on loading; they do not
    count among the tensors.
    """

    folder: Path
    tensors: dict[str, TensorInfo]
    config: dict[str, Any]
    computed: frozenset[str] = frozenset()

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(info.nbytes for info in self.tensors.values())

    @cached_property
    def elements(self) -> int:
        """Elements of all tensors."""
        return sum(info.elements for info in self.tensors.values())

    @cached_property
    def names(self) -> dict[str, str]:
        """Canonical names to the names in the files."""
        return canonical_names(self.tensors, self.folder)

    @property
    def head(self) -> str | None:
        """The stored name of the output layer, if it is stored."""
        return self.names.get(HEAD)

    @property
    def tied(self) -> bool:
        """Whether the output layer shares the input embedding.

        Where config.json leaves that to the model class, a missing output layer tells.
        """
        return bool(self.config.get("tie_word_embeddings", self.head is None))


def open_checkpoint(folder: str | os.PathLike[str]) -> Checkpoint:
    """Read the headers of all safetensors files of a Hugging Face folder, and its config.json.

    Files that are not the model's (`consolidated.safetensors`, folders like `original/`) do not
    count. Raises `UserError` where the folder is no whole safetensors checkpoint, holds quantised
    weights, or was changed after its manifest had been written.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder with a model; give a local Hugging Face folder")
    if (folder / "adapter_config.json").exists():
        raise UserError(
            f"{folder} holds an adapter; merge it into its base and save the whole model"
        )
    config = read_json_object(folder / "config.json")
    refuse_quantised(config, folder / "config.json")
    tensors = _read_weights(folder, config)
    check_unchanged(folder, {info.path for info in tensors.values()})
    kept = {name: info for name, info in tensors.items() if not is_computed(info)}
    for info in kept.values():
        of_layer = len(info.shape) > 1 or info.name.endswith(("weight", "bias"))
        if of_layer and info.dtype not in _UNPACKED:
            raise UserError(
                f"{info.path}: {info.name} is {info.dtype}, a quantised weight; use the model in "
                "bfloat16, float16 or float32"
            )
    checkpoint = Checkpoint(folder, kept, config, frozenset(tensors.keys() - kept.keys()))
    _check_complete(checkpoint)
    _check_sizes(checkpoint)
    return checkpoint


def _check_complete(checkpoint: Checkpoint) -> None:
    """What shows without the model's class: an output layer that is not there, whole layers that
    are not there or too many.
    """
    path, config = checkpoint.folder / "config.json", checkpoint.config
    numbered = [match for name in checkpoint.names if (match := _LAYER.match(name))]
    layers = 1 + max((int(match[1]) for match in numbered), default=-1)
    wanted = config.get("num_hidden_layers", layers)
    ahead = config.get("num_nextn_predict_layers") or 0  # DeepSeek's, behind the others
    if numbered and isinstance(wanted, int) and not wanted <= layers <= wanted + ahead:
        raise UserError(f"{path} says {wanted} layers, the files hold {layers}; copy them again")
    headless = not any(name.endswith(_HEADS) for name in checkpoint.names)
    classes = str(config.get("architectures"))  # a base model has no output layer
    causal_lm = "ForCausalLM" in classes or "LMHead" in classes
    if headless and causal_lm and config.get("tie_word_embeddings") is False:
        raise UserError(
            f"{path} does not tie the output layer, but the files hold none ({HEAD}); it was "
            "lost: save the whole model again"
        )


def _check_sizes(checkpoint: Checkpoint) -> None:
    """Raise `UserError` where config.json and the input embedding disagree on their sizes."""
    path, name = checkpoint.folder / "config.json", input_embedding(checkpoint)
    facts = checkpoint.config.get("text_config") or checkpoint.config
    if not isinstance(facts, dict):
        raise UserError(f"{path}: text_config is not an object with keys")
    check_pad_id(facts.get("pad_token_id"), facts.get("vocab_size"), path)
    if name is None or {"embedding_size", "word_embed_proj_dim"} & facts.keys():
        return  # an embedding that is narrower than the model
    rows, width, *_ = (*checkpoint.tensors[name].shape, 0, 0)
    for key, size in (("vocab_size", rows), ("hidden_size", width)):
        if isinstance(said := facts.get(key), int) and said != size:
            raise UserError(
                f"{path} says {key} {said}, {name} has {size}; the files do not belong together: "
                "copy the model again"
            )


def check_pad_id(pad: Any, size: Any, path: Path) -> None:
    """Raise `UserError` for padding that the embedding has no row for."""
    if isinstance(pad, int) and isinstance(size, int) and not -size <= pad < size:
        raise UserError(
            f"{path}: pad_token_id {pad} is beyond the {size} tokens of the model (vocab_size); "
            "set it to an id that the model has, or to null"
        )


def input_embedding(checkpoint: Checkpoint) -> str | None:
    """The name of the input embedding, if it has one of the usual names."""
    names = [name for name in checkpoint.tensors if name.endswith(_EMBEDDINGS)]
    return names[0] if len(names) == 1 else None


def stored_twice(checkpoint: Checkpoint) -> dict[str, str]:
    """The output layer and the embedding that it is tied to, where both are stored; else empty."""
    embedding, head = input_embedding(checkpoint), checkpoint.head
    if embedding is None or head is None or not checkpoint.tied:
        return {}
    return {head: embedding}


def check_tie(checkpoint: Checkpoint) -> None:
    """Raise `UserError` where an output layer differs from the embedding that it is tied to.

    Some programs would use the stored layer then, others the embedding.
    """
    for head, embedding in stored_twice(checkpoint).items():
        first, second = checkpoint.tensors[head], checkpoint.tensors[embedding]
        with closing(TensorReader()) as reader:
            equal = np.array_equal(reader.map(first), reader.map(second))
        if not equal or (first.shape, first.dtype) != (second.shape, second.dtype):
            raise UserError(
                f"{checkpoint.folder}/config.json ties {head} to {embedding}, but they differ; "
                "set tie_word_embeddings to false, or load the model and save it again"
            )


def refuse_quantised(config: dict[str, Any], where: object) -> None:
    """Raise `UserError` for a model whose config says that its weights are quantised."""
    for part in (config, config.get("text_config")):
        for key in ("quantization_config", "compression_config"):
            if isinstance(part, dict) and part.get(key):
                facts = part[key]
                kind = facts.get("quant_method") if isinstance(facts, dict) else facts
                raise UserError(
                    f"{where}: {key} says that the weights are quantised ({kind}); use the model "
                    "in bfloat16, float16 or float32"
                )


def _read_weights(folder: Path, config: dict[str, Any]) -> dict[str, TensorInfo]:
    """The tensors of the files that transformers would load: one that the config names, else one
    file for all, else those of the index.
    """
    named = config.get("transformers_weights")
    if named is not None and Path(str(named)).name != named:
        raise UserError(f"{folder}/config.json: transformers_weights {named!r} is no file in it")
    for file in (named, SINGLE, INDEX):
        if file and (file == named or (folder / file).exists()):
            return (_read_shards if file.endswith(".json") else read_header)(folder / file)
    if any(folder.glob("*.safetensors")):
        raise UserError(
            f"{folder} has no {SINGLE} and no {INDEX}; its other .safetensors files are not in "
            "the form of a Hugging Face model: load and save it in transformers"
        )
    raise UserError(
        f"{folder} has no {SINGLE} and no {INDEX}; turn pickled weights into safetensors with "
        "convert_checkpoint.py, or load the model in transformers and save it again"
    )


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
