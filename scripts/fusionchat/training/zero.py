"""DeepSpeed ZeRO with float32 weights: config, start on CPUs, and the weights at the end."""

import os
import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer

from fusionchat.errors import UserError
from fusionchat.training.zero_file import read_zero_file


def zero_config(path: Path, bf16: bool) -> dict[str, Any]:
    """A DeepSpeed config that keeps float32 weights, with autocast for bfloat16.

    DeepSpeed's own `bf16` section would hold the weights themselves in bfloat16.
    """
    return read_zero_file(path) | {"torch_autocast": {"enabled": bf16, "dtype": "bfloat16"}}


def prepare(device: str) -> None:
    """Call before the Trainer's settings are made, on every process of a DeepSpeed run.

    On CPUs it connects the processes by gloo: the Trainer leaves DeepSpeed unconnected there, so
    ZeRO-3 could not split a model while it is loaded, and DeepSpeed would first compile a kernel
    that only inference needs. A run that torchrun did not start is a `UserError`.
    """
    if "RANK" not in os.environ:
        raise UserError("--deepspeed: start the program with torchrun, for one process too")
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    if device == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
        import deepspeed

        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        deepspeed.init_distributed(dist_backend="gloo")


def full_weights(trainer: Trainer) -> dict[str, torch.Tensor] | None:
    """All float32 weights of a DeepSpeed run, on the first process's CPU; None without DeepSpeed.

    Called on every process. The optimizer's weights are read: under autocast, ZeRO-3 gathers the
    model's own rounded to bfloat16. Models that are loaded afterwards are ordinary again.
    """
    if not trainer.is_deepspeed_enabled:
        return None
    from deepspeed.utils import safe_get_full_fp32_param
    from transformers.integrations import unset_hf_deepspeed_config

    state = {}
    for name, parameter in trainer.model.named_parameters():
        weight = safe_get_full_fp32_param(parameter)
        if trainer.args.should_save:
            state[name] = weight.detach().to("cpu", torch.float32, copy=True)
    unset_hf_deepspeed_config()
    return state
