"""Names of weights: what other programs wrap around them, and what transformers renames or drops.

Two checkpoints hold the same weight if its canonical names are equal: without the wrappers that
training programs leave in front, and without the prefix of the base model, which transformers adds
or removes on loading (`transformer.h.0.ln_1.weight` is GPT-2's `h.0.ln_1.weight`).
"""

import re
from collections.abc import Iterable, Mapping

from fusionchat.errors import UserError
from fusionchat.readers.safetensors import TensorInfo

# torch.compile, FSDP and activation checkpointing; DistributedDataParallel's stands in front only.
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_LEADING = re.compile(rf"^(?:(?:module|{'|'.join(WRAPPERS)})\.)+")
_INNER = re.compile(rf"(?<=\.)(?:{'|'.join(WRAPPERS)})\.")

# `base_model_prefix` of the causal language models in transformers.
BASE_PREFIXES = frozenset(
    "model transformer gpt_neox gpt_neox_japanese backbone language_model rwkv biogpt cpmant bert "
    "roberta roberta_prelayernorm data2vec_text electra ernie git prophetnet reformer rembert "
    "roc_bert roformer".split()
)

# Buffers that are computed from the config: rotary frequencies, sinusoids, positions 0, 1, 2, ...
# and masks.
_COMPUTED = re.compile(
    r"(?:^|\.)(?:inv_freq|original_inv_freq|rope\.freqs|(?:cos|sin)_cached|embed_positions(?:\.weights)?"
    r"|position_ids|token_type_ids|masked_bias|causal_mask)$"
)
_MASK = re.compile(r"(?:^|\.)(?:attn|attention|crossattention)\.bias$")


def is_computed(info: TensorInfo) -> bool:
    """Whether a tensor is a buffer that is computed anew on loading, whatever the file holds.

    A causal mask is told from a bias by its shape [1, 1, length, length].
    """
    mask = _MASK.search(info.name) and len(info.shape) == 4
    return bool(mask or _COMPUTED.search(info.name))


def unwrapped(name: str) -> str:
    """A name without the wrappers of training programs."""
    return _INNER.sub("", _LEADING.sub("", name))


def canonical(name: str) -> str:
    """A name without wrappers and without the base model's prefix."""
    plain = unwrapped(name)
    first, _, rest = plain.partition(".")
    return rest if first in BASE_PREFIXES and rest else plain


def canonical_names(names: Iterable[str], where: object) -> dict[str, str]:
    """Canonical names to those that a checkpoint uses; two of one meaning are a `UserError`."""
    result: dict[str, str] = {}
    for name in names:
        twin = result.setdefault(canonical(name), name)
        if twin != name:
            raise UserError(f"{where} holds {twin} and {name}, which are one weight; save it again")
    return result


def key_mapping(tensors: Mapping[str, TensorInfo]) -> dict[str, str] | None:
    """The patterns by which `from_pretrained` removes the wrappers; None where there are none."""
    leads = {match.group() for name in tensors if (match := _LEADING.match(name))}
    mapping = {f"^{re.escape(lead)}": "" for lead in sorted(leads, key=len, reverse=True)}
    inner = {match.group() for name in tensors for match in _INNER.finditer(name)}
    return mapping | {rf"(?<=\.){re.escape(part)}": "" for part in sorted(inner)} or None
