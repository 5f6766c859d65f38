"""Checkpoints under one set of names, for mergekit, which compares them letter by letter."""

import shutil
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from fusionchat.merging.checkpoint_writer import CheckpointWriter
from fusionchat.merging.inputs import Inputs
from fusionchat.models.checkpoint import Checkpoint
from fusionchat.models.names import unwrapped
from fusionchat.readers.safetensors import TensorReader

_SHARD_BYTES = 5_000_000_000


def named_alike(inputs: Inputs, folder: Path) -> dict[str, Path]:
    """The folder of each checkpoint; one with other names than the pivot's is copied into `folder`.

    The names are the pivot's, without the wrappers of training programs.
    """
    folders = {}
    for source, checkpoint in inputs.sources(with_pivot=True).items():
        names = {unwrapped(name): inputs.tensor(source, name).name for name in inputs.pivot.tensors}
        same = all(new == old for new, old in names.items()) and not checkpoint.computed
        folders[source] = checkpoint.folder if same else _copy(checkpoint, names, folder / source)
    return folders


def _copy(checkpoint: Checkpoint, names: Mapping[str, str], folder: Path) -> Path:
    """Write the checkpoint with its tensors renamed (new to old name)."""
    folder.mkdir(parents=True)
    shutil.copy(checkpoint.folder / "config.json", folder)
    infos = {new: replace(checkpoint.tensors[old], name=new) for new, old in names.items()}
    with (
        closing(TensorReader()) as reader,
        closing(CheckpointWriter(folder, infos, _SHARD_BYTES)) as writer,
    ):
        for name, info in infos.items():
            writer.write(name, 0, reader.map(info).data)
    return folder
