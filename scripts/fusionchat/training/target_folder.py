"""Model folders in float32: the pivot to train, and the target that is saved and audited."""

import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from fusionchat.errors import UserError
from fusionchat.models.checkpoint import open_checkpoint
from fusionchat.models.model_folder import supporting_files
from fusionchat.readers.safetensors import TensorReader

TIED_HEAD = "lm_head.weight"


def load_float32(folder: Path) -> PreTrainedModel:
    """A model with float32 weights, whatever its files hold.

    Files that are damaged, or that do not hold exactly the weights of the model, are a `UserError`:
    a weight that is missing would be trained from random numbers.
    """
    if not (folder / "config.json").exists():
        raise UserError(f"{folder}: there is no config.json; this is no Hugging Face model")
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder} cannot be loaded as a causal LM: {error}") from error
    problems = {kind: sorted(names) for kind, names in report.items() if names}
    if problems:
        raise UserError(f"{folder}: the model does not load cleanly: {problems}")
    wrong = {str(p.dtype) for p in model.parameters() if p.dtype != torch.float32}
    if wrong:
        raise UserError(f"{folder}: training needs float32 weights, the model has {sorted(wrong)}")
    return model


def save_target(
    model: PreTrainedModel, pivot: Path, folder: Path, state: dict[str, torch.Tensor] | None
) -> None:
    """Write the model (float32 safetensors) and its config into `folder`, which is there.

    `state` holds its weights where the model itself does not. The tokenizer is the pivot's, byte
    for byte: saved anew, it would be this version's idea of it.
    """
    for path in supporting_files(pivot):
        shutil.copyfile(path, folder / path.name)
    model.save_pretrained(folder, state_dict=state)
    for path in folder.glob("*.safetensors"):  # safetensors lets the owner alone read them
        path.chmod((folder / "config.json").stat().st_mode)


def audit_target(folder: Path, pivot: Path) -> dict[str, int]:
    """Check a saved target against its pivot; returns counts for the manifest.

    Same tensor names and shapes as the pivot's files (a head that is tied to the embeddings may
    be stored or not), whole files, float32, all finite, and it loads without a missing or
    unexpected weight. Anything else is a `UserError`.
    """
    expected, found = _shapes(pivot), _shapes(folder)
    if AutoConfig.from_pretrained(folder).tie_word_embeddings:
        expected.pop(TIED_HEAD, None)
        found.pop(TIED_HEAD, None)
    if expected != found:
        different = sorted(
            name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
        )
        raise UserError(f"{folder}: weights {different[:5]} differ in name or shape from {pivot}")
    _check_values(folder)
    load_float32(folder)
    numbers = sum(torch.Size(shape).numel() for shape in found.values())
    return {"tensors": len(found), "parameters": numbers}


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every stored tensor, read from the headers."""
    return {name: info.shape for name, info in open_checkpoint(folder).tensors.items()}


def _check_values(folder: Path) -> None:
    """Raise `UserError` unless all numbers are float32 and finite."""
    with closing(TensorReader()) as reader:
        for name, info in open_checkpoint(folder).tensors.items():
            if info.dtype != "F32":
                raise UserError(f"{folder}: {name} was saved as {info.dtype}, not float32")
            if not np.isfinite(reader.map(info).view(np.float32)).all():
                raise UserError(f"{folder}: {name} holds values that are not finite")
