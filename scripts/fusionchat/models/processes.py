"""The processes that torchrun started for one model."""

import os
from typing import Any

import torch


def is_first_process() -> bool:
    """Whether this process is the one that writes (torchrun's rank 0, or the only one)."""
    return int(os.environ.get("RANK", "0")) == 0


def from_first_process(value: Any) -> Any:
    """The value that torchrun's rank 0 has, in all of its processes."""
    if not torch.distributed.is_initialized():
        return value
    box = [value]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def part_from_others() -> None:
    """End the work that torchrun's processes share; what follows is each one's own.

    A process group that is left to the interpreter's end may hang there, or be cut off while
    another process still uses it.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
