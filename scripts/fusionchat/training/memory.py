"""What makes a training fit one GPU: a smaller micro-batch, an optimizer with smaller moments."""

import gc
import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import torch
from accelerate.utils import find_executable_batch_size

from fusionchat.errors import UserError

Result = TypeVar("Result")

OPTIMIZERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_bnb_8bit"}  # the Trainer's names


def check(
    optimizer: str, fit_memory: bool, deepspeed: Path | None, device: str, processes: int
) -> None:
    """Refuse (`UserError`) what could not be kept, before a model is loaded."""
    if fit_memory and (device == "cpu" or processes > 1):
        raise UserError("--fit-memory: works for one process on one GPU; set --micro-batch-size")
    if optimizer == "adamw":
        return
    if deepspeed:
        raise UserError(f"--optimizer {optimizer}: not with --deepspeed; offload there instead")
    if not find_spec("bitsandbytes"):
        raise UserError(
            f"--optimizer {optimizer}: needs the package bitsandbytes, which is not installed; "
            "pip install bitsandbytes, or --optimizer adamw"
        )


def fit(train: Callable[..., Result], micro_batch: int) -> Result:
    """`train(micro_batch=...)`, once more with half as many dialogues whenever memory runs out.

    Sizes divide each other, so that the global batch can be split into all of them. A single
    dialogue that does not fit is a `UserError`.
    """
    size = micro_batch

    def smaller() -> int:
        nonlocal size
        if size == 1:
            raise UserError(
                "--fit-memory: not even one dialogue at a time fits the GPU's memory; use "
                "--gradient-checkpointing, a shorter --max-length, --optimizer adamw_8bit or "
                "--deepspeed configs/deepspeed/zero2_offload.json"
            )
        size = max(d for d in range(1, size // 2 + 1) if size % d == 0)
        return size

    def attempt(dialogues: int) -> Result:
        gc.collect()  # what the last attempt left
        torch.cuda.empty_cache()
        logging.info("%d dialogues at a time", dialogues)
        return train(micro_batch=dialogues)

    fitting = find_executable_batch_size(attempt, micro_batch, smaller)
    return fitting()
