"""A causal language model that runs in two halves: backbone and head."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fusionchat.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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

    @cached_property
    def _layers(self) -> list[nn.Module]:
        """The backbone's layers; none where it does not hold them in a list."""
        lists = (part for part in self.backbone.modules() if isinstance(part, nn.ModuleList))
        return list(next(lists, ()))

    @property
    def layers(self) -> int:
        """How many layers `hidden` goes through."""
        return len(self._layers)

    @contextmanager
    def after_each_layer(self, call: Callable[[], object]) -> Iterator[None]:
        """Call something after each layer of `hidden`."""

        def hook(*_: object) -> None:
            call()

        handles = [layer.register_forward_hook(hook) for layer in self._layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

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
