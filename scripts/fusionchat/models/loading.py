"""Loading a causal language model from a folder: the one way for every program.

Whatever would be scored with random or wrong weights is a `UserError` before anything is computed.
"""

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fusionchat.errors import UserError
from fusionchat.models.causal_lm import CausalLM
from fusionchat.models.checkpoint import (
    Checkpoint,
    check_tie,
    open_checkpoint,
)
from fusionchat.models.model_config import load_config, one_line, quiet
from fusionchat.models.names import canonical, key_mapping
from fusionchat.models.remote_code import runs_code

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    folder: str | os.PathLike[str], dtype: str, device: str = "cpu", **placement: Any
) -> "PreTrainedModel":
    """A model from safetensors, each weight from its file and each file's weight in the model.

    `device` is cpu, cuda or auto (layers spread over all visible GPUs); `placement` goes to
    `from_pretrained`. Code from the folder is run only if the run's config allowed that.
    """
    checkpoint, start = check_weights(folder), time.monotonic()
    logging.info("loading %s: %.1f GB", folder, checkpoint.nbytes / 1e9)
    if device != "cpu":  # weights go from the file to the device, not through the host's memory
        placement["device_map"] = device
    model = _load(checkpoint, DTYPES[dtype], placement).eval()
    _check_finite(model, Path(folder))
    logging.info("loaded in %.0f s", time.monotonic() - start)
    return model


def check_weights(folder: str | os.PathLike[str]) -> Checkpoint:
    """Raise `UserError` unless the files hold exactly the weights of the model of config.json.

    Names and shapes alone are compared, by the way in which transformers will load them.
    """
    from transformers.integrations import is_deepspeed_zero3_enabled

    checkpoint = open_checkpoint(folder)
    check_tie(checkpoint)
    if not is_deepspeed_zero3_enabled():  # it places each weight itself
        with quiet():
            _load(checkpoint, torch.float32, {"device_map": "meta"})
    return checkpoint


def _load(
    checkpoint: Checkpoint, dtype: torch.dtype, placement: Mapping[str, Any]
) -> "PreTrainedModel":
    from transformers import AutoModelForCausalLM

    folder, config = checkpoint.folder, load_config(checkpoint.folder)
    mapping = key_mapping(checkpoint.tensors)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=runs_code(folder),
            local_files_only=True,
            output_loading_info=True,
            key_mapping=mapping,
            **placement,
        )
    except Exception as error:  # whatever a wrong file does to transformers
        tensor_parallel = "distributed_config" in placement
        hint = "; without torchrun its layers are spread" if tensor_parallel else ""
        raise UserError(
            f"{folder} cannot be loaded as a causal LM{hint}: {one_line(error)}"
        ) from error
    _check_report(model, checkpoint, report)
    if mapping:
        model._weight_conversions = None  # saving would wrap the names again
    return model


def check_plain_names(folder: str | os.PathLike[str]) -> None:
    """Raise `UserError` unless a program with a loader of its own would load this folder, too."""
    checkpoint = check_weights(folder)
    if key_mapping(checkpoint.tensors):
        raise UserError(
            f"{folder}: the weights have names like {next(iter(checkpoint.tensors))}, which only "
            "the engine local reads; save the model without torch.compile's or DDP's wrapper"
        )


def load_causal_lm(
    folder: str | os.PathLike[str], dtype: str, device: str = "cpu", devices: int = 1
) -> CausalLM:
    """A model as `load_model` loads it, to be run in two halves.

    `devices` > 1 divides it: by tensor parallelism under torchrun with as many processes, else by
    layers over the GPUs that are visible.
    """
    model = load_model(folder, dtype, **_placement(Path(folder), device, devices))
    if device == "cuda" and any(p.device.type != "cuda" for p in model.parameters()):
        raise UserError(f"{folder} does not fit {devices} GPUs; ask for more or for larger ones")
    return CausalLM(model)


def _check_report(
    model: "PreTrainedModel", checkpoint: Checkpoint, report: Mapping[str, Any]
) -> None:
    """Raise `UserError` unless files and model hold the same weights.

    What is computed anew on loading may stand in the files: buffers that are not saved any more.
    """
    saved = model.state_dict().keys()
    buffers = {canonical(name) for name, _ in model.named_buffers() if name not in saved}
    ignored = buffers | {canonical(name) for name in checkpoint.computed}
    unexpected = {name for name in report["unexpected_keys"] if canonical(name) not in ignored}
    kinds = {"lacks": report["missing_keys"], "has besides the model's": unexpected}
    kinds |= {"does not fit in": report["mismatched_keys"], "fails in": report["error_msgs"]}
    for verb, keys in kinds.items():
        names = sorted(name if isinstance(name, str) else name[0] for name in keys)
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UserError(
                f"{checkpoint.folder} {verb} weights: {names[0]}{more}; they are not those of its "
                "config.json: copy or fetch the model again, or save it in transformers"
            )


def _check_finite(model: "PreTrainedModel", folder: Path) -> None:
    """Raise `UserError` for a weight that is NaN or infinite: every number would be."""
    for name, weight in model.named_parameters():
        local = weight.to_local() if hasattr(weight, "to_local") else weight
        if not local.is_meta and not torch.isfinite(local).all():
            raise UserError(
                f"{folder}: {name} holds NaN or infinity in {local.dtype}; look for a diverged "
                "training or a damaged file, or take a wider type"
            )


def _placement(folder: Path, device: str, devices: int) -> dict[str, Any]:
    """The arguments of `load_model` that put a model on its devices."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if device == "cuda" and torch.cuda.device_count() < devices:
        raise UserError(f"{devices} GPUs were promised, {torch.cuda.device_count()} are visible")
    if world > 1:
        if world != devices:
            raise UserError(f"{world} processes were started for --devices {devices}")
        if device == "cpu" and torch.accelerator.is_available():
            raise UserError("several CPU processes would use the GPU; set CUDA_VISIBLE_DEVICES=''")
        _check_heads(folder, devices)
        from transformers.distributed import DistributedConfig

        return {"distributed_config": DistributedConfig(tp_size=devices)}
    if device == "cuda":
        return {"device": "auto" if devices > 1 else "cuda"}
    if devices > 1:
        raise UserError("several CPU processes need torchrun")
    return {}


def _check_heads(folder: Path, devices: int) -> None:
    """Stop before the weights are read if tensor parallelism would cut an attention head."""
    heads = getattr(load_config(folder).get_text_config(), "num_key_value_heads", None)
    if heads and heads % devices:
        raise UserError(
            f"{folder}: {devices} devices cannot share {heads} key-value heads evenly; "
            "start as many processes as divide them"
        )
