"""What transformers would write for a model, without writing it."""

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def saved_shapes(model: "PreTrainedModel") -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor that `save_pretrained` would write.

    Its conversion back to the names and cuts of the published format runs on the meta device.
    """
    from transformers.core_model_loading import revert_weight_conversion

    tied = model.all_tied_weights_keys.keys()
    state = {
        name: torch.empty(getattr(value, "ds_shape", value.shape), device="meta")  # whole in ZeRO-3
        for name, value in model.state_dict(keep_vars=True).items()
        if name not in tied
    }
    saved = revert_weight_conversion(model, state)
    return {name: tuple(value.shape) for name, value in saved.items()}
