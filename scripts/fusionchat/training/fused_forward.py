"""Makes a causal language model compute the sparse loss inside its own forward pass.

The loss is computed by the head module itself, so that what wraps modules (DeepSpeed ZeRO-3's
gathering of weights, DDP's reduction of gradients, autocast) sees an ordinary forward pass.
"""

from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from transformers import PreTrainedModel

from fusionchat.errors import UserError
from fusionchat.training.losses import head_loss, teacher_from_logprobs

SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap")
UNKNOWN_HEADS = (
    *("logit_scale", "logits_scaling", "logits_mup_width_multiplier", "lm_head_multiplier"),
    *("output_multiplier_scale", "output_logit_soft_cap", "unpadded_vocab_size"),
)


@dataclass(frozen=True)
class LossOptions:
    """The loss of the paper is the default."""

    clm_weight: float = 0.9
    kind: str = "ce"
    temperature: float = 1.0
    tail: bool = False
    rows: int | None = None


def install(model: PreTrainedModel, options: LossOptions, *, packed: bool = False) -> None:
    """Replace the model's forward pass by one that takes a collator's batch.

    It returns `loss` (with gradient), `clm` and `fusion`: sums over the batch's response tokens.
    A soft cap is honoured. Heads with a bias or a scale of their own are a `UserError`, and so are
    `packed` batches of a model whose state runs on from one dialogue into the next.
    """
    if packed and model._is_stateful:
        raise UserError(
            f"--batching packed: {model.config.name_or_path} is recurrent, its state would run on "
            "from one dialogue into the next; use padded"
        )
    head = model.get_output_embeddings()
    scale = [name for name in UNKNOWN_HEADS if getattr(model.config, name, 1.0) not in (None, 1.0)]
    if getattr(head, "bias", None) is not None or scale:
        what = f"with {scale[0]}" if scale else "with a bias"
        raise UserError(
            f"{model.config.name_or_path}: a language-model head {what} is not supported as pivot"
        )
    softcap = next((cap for name in SOFT_CAPS if (cap := getattr(model.config, name, None))), None)

    def head_forward(self: torch.nn.Linear, hidden: torch.Tensor, batch: dict[str, Any]) -> Any:
        teacher = None
        if "top_ids" in batch:
            teacher = teacher_from_logprobs(
                batch["top_ids"],
                batch["top_logprobs"],
                temperature=options.temperature,
                tail=options.tail,
                known=batch.get("known"),
            )
        parts = head_loss(
            hidden,
            self.weight,
            batch["targets"],
            teacher,
            clm_weight=options.clm_weight,
            kind=options.kind,
            softcap=softcap,
            rows=options.rows,
        )
        return parts.total, parts.clm, parts.fusion

    def forward(self: PreTrainedModel, **batch: Any) -> dict[str, torch.Tensor]:
        reads = ("input_ids", "attention_mask", "position_ids")
        inputs = {name: batch[name] for name in reads if name in batch}
        hidden = self.base_model(**inputs, use_cache=False).last_hidden_state
        selected = hidden.flatten(0, 1).index_select(0, batch["positions"])
        loss, clm, fusion = head(selected, batch)
        return {"loss": loss, "clm": clm, "fusion": fusion}

    head.forward = MethodType(head_forward, head)
    model.forward = MethodType(forward, model)
