"""Reads several checkpoints tensor by tensor and writes the first one again: the floor of a merge.

The straightforward program for it: each tensor is read whole into a new array; nothing is hashed.
"""

import os
import shutil
import sys
from pathlib import Path

import numpy as np

from fusionchat.merging.checkpoint_writer import CheckpointWriter
from fusionchat.models.checkpoint import open_checkpoint


def main(output: str, *folders: str) -> None:
    """Copy the first of `folders` to `output` while reading all of them."""
    os.makedirs(output)
    checkpoints = [open_checkpoint(folder) for folder in folders]
    writer = CheckpointWriter(Path(output), checkpoints[0].tensors, 5_000_000_000)
    for name in checkpoints[0].tensors:
        arrays = []
        for checkpoint in checkpoints:
            info = checkpoint.tensors[name]
            arrays.append(np.fromfile(info.path, np.uint8, info.nbytes, offset=info.offset))
        writer.write(name, 0, arrays[0].data)
    writer.close()
    shutil.copy(checkpoints[0].folder / "config.json", output)


if __name__ == "__main__":
    main(*sys.argv[1:])
