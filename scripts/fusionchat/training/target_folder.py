"""Model folders in float32: the pivot to train, and the target that is saved and audited."""

import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from fusionchat.errors import UserError
from fusionchat.models.checkpoint import HEAD, Checkpoint, open_checkpoint
from fusionchat.models.generation_config import stop_also
from fusionchat.models.loading import check_weights, load_model
from fusionchat.models.model_folder import supporting_files
from fusionchat.models.names import canonical
from fusionchat.models.saving import saved_shapes
from fusionchat.readers.safetensors import TensorReader

Shapes = dict[str, tuple[int, ...]]


def load_float32(folder: Path) -> PreTrainedModel:
    """A model with float32 weights, whatever its files hold, that will be saved as it was read.

    Weights whose names or shapes would differ from the folder's after saving are a `UserError`
    here, before the first step.
    """
    model = load_model(folder, "float32")
    wrong = {str(p.dtype) for p in model.parameters() if p.dtype != torch.float32}
    if wrong:
        raise UserError(f"{folder}: training needs float32 weights, the model has {sorted(wrong)}")
    _compare(saved_shapes(model), open_checkpoint(folder), f"{folder}, loaded and saved again")
    return model.train()


def save_target(
    model: PreTrainedModel,
    pivot: Path,
    folder: Path,
    state: dict[str, torch.Tensor] | None,
    end_of_turn: int,
) -> None:
    """Write the model (float32 safetensors) and its config into `folder`, which is there.

    `state` holds its weights where the model itself does not. The tokenizer is the pivot's, byte
    for byte: saved anew, it would be this version's idea of it. The generation config stops at
    `end_of_turn`, which the model learnt, also where the pivot's does not.
    """
    for path in supporting_files(pivot):
        shutil.copyfile(path, folder / path.name)
    model.save_pretrained(folder, state_dict=state)
    stop_also(folder, [end_of_turn])
    for path in folder.glob("*.safetensors"):  # safetensors lets the owner alone read them
        path.chmod((folder / "config.json").stat().st_mode)


def audit_target(folder: Path, pivot: Path) -> dict[str, int]:
    """Check a saved target against its pivot; returns counts for the manifest.

    Same weights and shapes as the pivot's files (a head that is tied to the embeddings may be
    stored or not), whole files, float32, all finite, and it loads without a missing or unexpected
    weight. Anything else is a `UserError`.
    """
    target = open_checkpoint(folder)
    _compare(_stored(target), open_checkpoint(pivot), str(folder))
    _check_values(target)
    check_weights(folder)
    return {"tensors": len(target.tensors), "parameters": target.elements}


def _stored(checkpoint: Checkpoint) -> Shapes:
    """Shapes by canonical name; without a head that is tied."""
    shapes = {plain: checkpoint.tensors[name].shape for plain, name in checkpoint.names.items()}
    if checkpoint.tied:
        shapes.pop(HEAD, None)
    return shapes


def _compare(saved: Shapes, pivot: Checkpoint, where: str) -> None:
    """Raise `UserError` unless names, as they are saved, and shapes are the pivot's."""
    shapes, expected = {canonical(name): shape for name, shape in saved.items()}, _stored(pivot)
    if HEAD not in expected:
        shapes.pop(HEAD, None)
    different = sorted(name for name in expected | shapes if expected.get(name) != shapes.get(name))
    if different:
        names = [pivot.names.get(name, name) for name in different[:5]]
        raise UserError(
            f"{where}: weights {names} differ in name or shape from {pivot.folder}; save "
            "the pivot with the version of transformers that is here"
        )


def _check_values(checkpoint: Checkpoint) -> None:
    """Raise `UserError` unless all numbers are float32 and finite."""
    with closing(TensorReader()) as reader:
        for name, info in checkpoint.tensors.items():
            if info.dtype != "F32":
                raise UserError(f"{info.path}: {name} was saved as {info.dtype}, not float32")
            if not np.isfinite(reader.map(info).view(np.float32)).all():
                raise UserError(f"{info.path}: {name} holds values that are not finite")
