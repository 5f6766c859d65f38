"""Loading a causal language model and its tokenizer from a folder, and running it in two halves."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import nn

from fusionchat.errors import UserError
from fusionchat.files import MANIFEST, checksums, read_json
from fusionchat.models.remote_code import runs_code

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class CausalLM:
    """A causal language model whose backbone and head run apart.

    The head is the model's own `forward` with a backbone that hands it chosen hidden states, so
    soft-capping, scaling and whatever else an architecture does to its logits happens as it
    should. It computes in float32 also where the backbone does not: bfloat16 logits of 16 or more
    are rounded to multiples of 0.125.
    """

    def __init__(self, model: "PreTrainedModel"):
        self._model = model.eval().requires_grad_(False)
        self.backbone = model.get_decoder()
        self._head = model.get_output_embeddings()
        if self._head is None or self.backbone is model:
            raise UserError(f"{model.name_or_path}: no backbone with a language modelling head")
        _to_float32(self._head)

    @property
    def vocab_size(self) -> int:
        """Entries of a distribution; may exceed the tokenizer's where a model is padded."""
        return int(self._model.config.get_text_config().vocab_size)

    @property
    def max_length(self) -> int | None:
        """Tokens that the positional encoding was made for, if the config says."""
        return getattr(self._model.config.get_text_config(), "max_position_embeddings", None)

    @property
    def device(self) -> torch.device:
        """Where input ids go."""
        return self.backbone.get_input_embeddings().weight.device

    def hidden(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Final hidden states [B, L, H] of token ids [B, L], padded on the right.

        No attention mask: with causal attention no token sees what stands to its right, and
        without a mask the fastest attention kernels apply.
        """
        self._output = self.backbone(input_ids=input_ids.to(self.device), use_cache=False)
        return self._output.last_hidden_state

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits float32 [n, V] of hidden states [n, H]; `hidden` must have been called before."""
        weight = getattr(self._head, "weight", None)
        chosen = hidden if weight is None else hidden.to(weight.dtype)
        self._output.last_hidden_state = chosen[None]
        with (
            _returning(self.backbone, self._output),
            _tensor_float32(hidden.dtype == torch.bfloat16),
        ):
            return self._model(inputs_embeds=chosen[None], use_cache=False).logits[0].float()


@contextmanager
def _returning(module: nn.Module, output: Any) -> Iterator[None]:
    """Let a module return `output`, whatever it is given."""
    hooked = vars(module).get("forward")  # where accelerate or tensor parallelism put theirs
    module.forward = lambda *_args, **_kwargs: output
    try:
        yield
    finally:
        del module.forward
        if hooked is not None:
            module.forward = hooked


@contextmanager
def _tensor_float32(enabled: bool) -> Iterator[None]:
    """Let a GPU multiply float32 matrices in TF32: exact for numbers that come from bfloat16.

    Only for the head: rotary embeddings multiply positions, which TF32 would round.
    """
    settings = torch.backends.cuda.matmul
    before = settings.fp32_precision
    settings.fp32_precision = "tf32" if enabled else before
    try:
        yield
    finally:
        settings.fp32_precision = before


def _to_float32(head: nn.Module) -> None:
    """Give the head float32 parameters of its own, so that a tied embedding keeps its dtype."""
    for name, value in list(head.named_parameters(recurse=False)):
        if value.dtype != torch.float32 and not value.is_meta:
            setattr(head, name, nn.Parameter(value.detach().float(), requires_grad=False))


def load_tokenizer(folder: str | os.PathLike[str]) -> "PreTrainedTokenizerBase":
    """The fast tokenizer of a model folder.

    Code from it runs only where the config allowed that and transformers itself has no class for
    the tokenizer: the repositories' classes were written for older versions, which built what
    normalises, cuts and decodes in another way (a class like InternLM2's loses every space now).
    """
    from transformers import AutoTokenizer

    if not Path(folder).is_dir():
        raise UserError(f"{folder} is not a folder with a tokenizer")
    failure: Exception | None = None
    for trust in (False, True) if runs_code(folder) else (False,):
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                folder, trust_remote_code=trust, local_files_only=True
            )
            break
        except (OSError, ValueError) as error:
            failure = error
    else:
        reason = " ".join(str(failure).split())
        raise UserError(f"{folder} holds no tokenizer that can be loaded: {reason}") from failure
    if not tokenizer.is_fast:
        raise UserError(f"{folder}: only fast tokenizers (tokenizer.json) give token offsets")
    return tokenizer


def load_causal_lm(
    folder: str | os.PathLike[str], dtype: str, device: str = "cpu", devices: int = 1
) -> CausalLM:
    """A model from safetensors; code from its folder is run only if the config allowed that.

    `devices` > 1 divides it: by tensor parallelism under torchrun with as many processes, else by
    layers over the GPUs that are visible. A checkpoint that lacks weights is a `UserError`.
    """
    from transformers import AutoModelForCausalLM

    folder = Path(folder)
    if not any(folder.glob("*.safetensors")):
        raise UserError(f"{folder} has no safetensors; make them with convert_checkpoint.py")
    placement = _placement(folder, device, devices)
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=DTYPES[dtype],
            use_safetensors=True,
            trust_remote_code=runs_code(folder),
            local_files_only=True,
            output_loading_info=True,
            **placement,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        hint = (
            "; without torchrun its layers are spread" if "distributed_config" in placement else ""
        )
        reason = " ".join(str(error).split())
        raise UserError(f"{folder} cannot be loaded as a causal LM{hint}: {reason}") from error
    lacking = sorted(found["missing_keys"])
    if lacking:  # transformers would score with random numbers in their place
        raise UserError(
            f"{folder} lacks {len(lacking)} weights of its config.json: {lacking[0]} ...; "
            "copy or fetch the model again"
        )
    if device == "cuda" and any(p.device.type != "cuda" for p in model.parameters()):
        raise UserError(f"{folder} does not fit {devices} GPUs; ask for more or for larger ones")
    return CausalLM(model)


def _placement(folder: Path, device: str, devices: int) -> dict[str, Any]:
    """The arguments of `from_pretrained` that put a model on its devices."""
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
    if device == "cuda":  # weights go from the file to the GPU, not through the host's memory
        return {"device_map": "auto" if devices > 1 else "cuda"}
    if devices > 1:
        raise UserError("several CPU processes need torchrun")
    return {}


def _check_heads(folder: Path, devices: int) -> None:
    """Stop before the weights are read if tensor parallelism would cut an attention head."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(
        folder, trust_remote_code=runs_code(folder), local_files_only=True
    )
    heads = getattr(config.get_text_config(), "num_key_value_heads", None)
    if heads and heads % devices:
        raise UserError(
            f"{folder}: {devices} devices cannot share {heads} key-value heads evenly; "
            "start as many processes as divide them"
        )


def fingerprint(folder: str | os.PathLike[str]) -> str:
    """A checksum of a model folder: of its manifest's list of files where it has one."""
    folder = Path(folder)
    manifest = folder / MANIFEST
    files = read_json(manifest).get("files") if manifest.exists() else None
    listing = json.dumps(files or checksums(folder), sort_keys=True)
    return hashlib.sha256(listing.encode()).hexdigest()


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
