"""What belongs to a model beside its weights: config, tokenizer, template, license, pooling."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusionchat.files import MANIFEST, read_json_object
from fusionchat.merging.checkpoint_writer import float_type
from fusionchat.models.checkpoint import FLOATS, Checkpoint
from fusionchat.models.generation_config import GENERATION_CONFIG
from fusionchat.models.tokenizer import has_template
from fusionchat.readers.safetensors import TensorInfo

CONFIG = "config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
_KEPT = re.compile(
    r".*\.(json|jinja|model|txt|tiktoken|spm|vocab|bpe|py)|(licen[cs]e|notice|use_policy|copying)\b.*",
    re.IGNORECASE,
)
_TRAINING = re.compile(  # and the index of weights in any format
    r"(trainer_state|training_args|all_results|(train|eval|test|predict)_results|optimizer"
    r"|scheduler|rng_state|latest|zero_to_fp32|training_config)\b.*|.*\.index\.json",
    re.IGNORECASE,
)
_FOLDERS = re.compile(r"additional_chat_templates|\d+_[A-Z]\w*")  # 1_Pooling, 2_Dense
_TOKENIZER = re.compile(
    r"tokenizer.*|special_tokens_map\.json|added_tokens\.json|vocab\..*|merges\.txt"
    r"|.*\.(model|spm|tiktoken|vocab|bpe)"
)
_VOCABULARY = re.compile(r"tokenizer\.json|vocab\..*|.*\.(model|spm|tiktoken|bpe)")
_TEMPLATE = re.compile(r"chat_template.*|additional_chat_templates")
_TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def left_behind(pivot: Checkpoint, targets: Mapping[str, Checkpoint]) -> list[str]:
    """What targets have besides their weights and a merge does not take unasked, in words."""
    told = []
    for name, target in targets.items():
        for key in _TOKEN_IDS:
            base, other = pivot.config.get(key), target.config.get(key)
            if None not in (base, other) and base != other:
                told.append(
                    f"{key} is {other} in the target {name} and {base} in the pivot, whose tokens "
                    f"the merged model gets (--tokenizer-from {name} takes the target's)"
                )
        if _has(target.folder, _VOCABULARY) and not _has(pivot.folder, _VOCABULARY):
            told.append(f"the pivot has no tokenizer; --tokenizer-from {name} takes the target's")
        elif has_template(target.folder) and not has_template(pivot.folder):
            told.append(
                f"the pivot has no chat template; --template-from {name} takes the target's"
            )
    return told


def _has(folder: Path, pattern: re.Pattern[str]) -> bool:
    return any(pattern.fullmatch(path.name) for path in folder.iterdir())


def copy_side_files(
    pivot: Checkpoint,
    folder: Path,
    layout: Mapping[str, TensorInfo],
    tokenizer_from: Checkpoint | None = None,
    template_from: Checkpoint | None = None,
) -> None:
    """Copy all but weights and what a training leaves behind; config.json names the new type.

    The tokenizer, with its template and the tokens that end an answer, may come from one target,
    the template alone from another.
    """
    for path in _side_files(pivot.folder):
        _copy(path, folder)
    if tokenizer_from:
        _replace(tokenizer_from.folder, folder, (_TOKENIZER, _TEMPLATE))
        ids = {k: tokenizer_from.config[k] for k in _TOKEN_IDS if k in tokenizer_from.config}
        _update(folder / CONFIG, ids)
    if template_from:
        _replace(template_from.folder, folder, (_TEMPLATE,))
        _copy_template_key(template_from.folder, folder)
    _name_dtype(folder / CONFIG, pivot, layout)


def _side_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if _belongs(path)]


def _belongs(path: Path) -> bool:
    if path.name.startswith(".") or path.name == MANIFEST:
        return False
    if path.is_dir():
        return bool(_FOLDERS.fullmatch(path.name))
    return bool(_KEPT.fullmatch(path.name) and not _TRAINING.fullmatch(path.name))


def _copy(path: Path, folder: Path) -> None:
    if path.is_dir():
        shutil.copytree(path, folder / path.name)
    else:
        shutil.copyfile(path, folder / path.name)


def _replace(source: Path, folder: Path, patterns: tuple[re.Pattern[str], ...]) -> None:
    """Exchange the files of these names for those of `source`."""

    def chosen(path: Path) -> bool:
        return path.name == GENERATION_CONFIG or any(p.fullmatch(path.name) for p in patterns)

    files = [path for path in _side_files(source) if chosen(path)]
    for path in filter(chosen, list(folder.iterdir())):
        if path.name != GENERATION_CONFIG or any(file.name == GENERATION_CONFIG for file in files):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in files:
        _copy(path, folder)


def _copy_template_key(source: Path, folder: Path) -> None:
    """Older folders keep the template inside tokenizer_config.json."""
    path = source / TOKENIZER_CONFIG
    template = read_json_object(path).get("chat_template") if path.exists() else None
    if (folder / TOKENIZER_CONFIG).exists():
        _update(folder / TOKENIZER_CONFIG, {"chat_template": template})


def _name_dtype(path: Path, pivot: Checkpoint, layout: Mapping[str, TensorInfo]) -> None:
    types = {info.dtype for info in layout.values() if info.dtype in FLOATS}
    if types != {info.dtype for info in pivot.tensors.values() if info.dtype in FLOATS}:
        key = "torch_dtype" if "torch_dtype" in pivot.config else "dtype"
        _update(path, {key: float_type(layout)})


def _update(path: Path, changes: dict[str, Any]) -> None:
    """Set keys of a JSON file, or remove those that are None."""
    facts = {**read_json_object(path), **changes}
    kept = {key: value for key, value in facts.items() if value is not None or key not in changes}
    path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
