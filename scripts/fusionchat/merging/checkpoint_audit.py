"""Whether a target fits the pivot: tensors, shapes, tied embeddings, architecture, tokenizer."""

import hashlib
import json
from pathlib import Path
from typing import Any

from fusionchat.errors import UserError
from fusionchat.files import read_json_object
from fusionchat.merging.config_differences import rotary
from fusionchat.models.checkpoint import FLOATS, Checkpoint, check_tie, input_embedding
from fusionchat.models.tokenizer import added_tokens
from fusionchat.readers.safetensors import TensorInfo

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
_ARCHITECTURE = (
    "model_type",
    "tie_word_embeddings",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "num_experts_per_tok",
)


def match_tensors(pivot: Checkpoint, target: Checkpoint) -> dict[str, str]:
    """The target's name for each tensor of the pivot, both as they stand in the files.

    Names must be the same but for wrappers, the base model's prefix, and a tied output layer, which
    some programs save and others leave out. Raises `UserError` for everything that makes a merge
    meaningless.
    """
    _check_architecture(pivot, target)
    for checkpoint in (pivot, target):
        check_tie(checkpoint)
    both = [plain for plain in pivot.names if plain in target.names]
    matched = {pivot.names[plain]: target.names[plain] for plain in both}
    missing = [name for name in pivot.tensors if name not in matched]
    extra = [name for plain, name in target.names.items() if plain not in pivot.names]
    embedding = input_embedding(target)
    if pivot.tied and target.tied and embedding is not None:
        if missing == [pivot.head]:
            matched[missing.pop()] = embedding
        if extra == [target.head]:
            extra = []
    for names, verb in ((missing, "lacks"), (extra, "has besides the pivot's tensors")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UserError(
                f"{target.folder} {verb} {names[0]}{more}; a target must be fine-tuned from "
                f"the pivot {pivot.folder} and saved whole"
            )
    for name, other in matched.items():
        _check_tensor(pivot, target, pivot.tensors[name], target.tensors[other])
    return matched


def _check_tensor(
    pivot: Checkpoint, target: Checkpoint, base: TensorInfo, other: TensorInfo
) -> None:
    if base.shape != other.shape:
        rows = "embed" in base.name or base.name == pivot.head
        hint = (
            "the target has other added tokens: resize its embeddings to the pivot's vocabulary"
            if rows and base.shape[1:] == other.shape[1:]
            else "it is not fine-tuned from this pivot"
        )
        raise UserError(
            f"{target.folder}: {base.name} has shape {list(other.shape)} where the pivot "
            f"{pivot.folder} has {list(base.shape)}; {hint}"
        )
    if (base.dtype in FLOATS) != (other.dtype in FLOATS):
        raise UserError(
            f"{target.folder}: {base.name} is {other.dtype} where the pivot has {base.dtype}; "
            "save both in float32, bfloat16 or float16"
        )


def _check_architecture(pivot: Checkpoint, target: Checkpoint) -> None:
    def facts(checkpoint: Checkpoint) -> dict[str, Any]:
        values = {key: checkpoint.config.get(key) for key in _ARCHITECTURE}
        return {**values, "rope_theta": rotary(checkpoint.config)[0]}

    expected, other = facts(pivot), facts(target)
    for key, value in expected.items():
        if None not in (value, other[key]) and value != other[key]:
            raise UserError(
                f"{target.folder}/config.json: {key} is {other[key]!r} where the pivot "
                f"{pivot.folder} has {value!r}; only models of one architecture can be merged"
            )


def check_tokenizers(pivot: Checkpoint, target: Checkpoint) -> None:
    """Raise `UserError` where both folders hold a tokenizer and the ids mean different tokens."""
    both = (pivot.folder, target.folder)
    name = next((n for n in _TOKENIZERS if all((f / n).exists() for f in both)), None)
    if name is None or len({_sha(folder / name) for folder in both}) == 1:
        return
    detail = "the files differ"
    if name != "tokenizer.model":
        first, second = (_read_vocabulary(folder, name) for folder in both)
        if first == second:
            return
        differing = sorted(first.items() ^ second.items(), key=lambda item: (item[1], item[0]))
        detail = ", ".join(f"{token!r} = {number}" for token, number in differing[:3])
    raise UserError(
        f"{target.folder / name}: not the pivot's tokenizer ({detail}); token ids would change "
        "their meaning. Use the checkpoint with the pivot's tokenizer, or --allow-other-tokenizer "
        "if only unused entries differ"
    )


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_vocabulary(folder: Path, name: str) -> dict[str, int]:
    try:
        return _vocabulary(folder, name)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{folder / name} is no tokenizer of a form that is known here ({error!r}); copy it "
            "again, or save it anew"
        ) from error


def _vocabulary(folder: Path, name: str) -> dict[str, int]:
    """All tokens and their ids, and the checksum of the merges, as an entry with the id -1."""
    tokenizer = read_json_object(folder / name)
    if name == "vocab.json":
        return tokenizer | added_tokens(folder)
    model = tokenizer["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):  # Unigram: a list of [piece, score]
        vocabulary = {piece: number for number, (piece, _) in enumerate(vocabulary)}
    added = {entry["content"]: entry["id"] for entry in tokenizer.get("added_tokens") or []}
    # "a b" in older files, ["a", "b"] since tokenizers 0.20
    merges = [m.split(" ", 1) if isinstance(m, str) else m for m in model.get("merges") or []]
    checksum = hashlib.sha256(json.dumps(merges).encode()).hexdigest()
    return {**vocabulary, **added_tokens(folder), **added, f"merges {checksum}": -1}
