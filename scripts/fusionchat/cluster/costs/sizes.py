"""How large a model is: by its configuration, its files, or, before it is fetched, its name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

BYTES = {"float32": 4.0, "bfloat16": 2.0}  # of a weight
_BILLIONS = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", re.IGNORECASE)
_TOKEN = 75  # bytes of a tokenizer's files per token; SmolLM2 has 71, Qwen 3 75
_EXPERT = re.compile(r"\bexperts\.")


@dataclass(frozen=True)
class Size:
    """Billions of parameters, all and those that see each token, and the shape behind them.

    `key_values` is the width of a layer's keys, which its values share.
    """

    parameters: float
    active: float
    layers: int
    hidden: int
    intermediate: int
    key_values: int
    vocabulary: int

    @property
    def weights(self) -> float:
        """All parameters."""
        return 1e9 * self.parameters

    @property
    def side_files(self) -> float:
        """Bytes of a model's folder beside its weights: the tokenizer, configs and card."""
        return 3e4 + _TOKEN * self.vocabulary


def pretrained_size(shape: Mapping[str, Any]) -> Size:
    """A model that the workflow trains from scratch, embeddings untied."""
    hidden, layers = shape["hidden_size"], shape["layers"]
    key_values = hidden * shape["kv_heads"] // shape["heads"]
    attention = 2 * hidden * hidden + 2 * hidden * key_values
    expert = 3 * hidden * shape["intermediate_size"]
    mixture = shape["architecture"] == "mixtral"
    vocabulary = shape["vocabulary"] + 1
    embeddings = 2 * hidden * vocabulary
    experts, seen = (shape["experts"], 2) if mixture else (1, 1)
    return Size(
        (embeddings + layers * (attention + experts * expert)) / 1e9,
        (embeddings + layers * (attention + seen * expert)) / 1e9,
        layers, hidden, seen * shape["intermediate_size"], key_values, vocabulary,
    )  # fmt: skip


def stored_size(folder: Path) -> Size:
    """A model in a folder, from the headers of its weights; a `UserError` where it cannot be used.

    Of experts, as many count as active as config.json says that a token sees.
    """
    from fusionchat.models.checkpoint import open_checkpoint, stored_twice

    checkpoint = open_checkpoint(folder)
    tied = sum(checkpoint.tensors[name].elements for name in stored_twice(checkpoint))
    tensors = checkpoint.tensors.values()
    elements = sum(info.elements for info in tensors) - tied
    experts = sum(info.elements for info in tensors if _EXPERT.search(info.name))
    text = checkpoint.config.get("text_config")
    config = checkpoint.config | (text if isinstance(text, dict) else {})
    count = _number(config, "num_local_experts", "num_experts", "n_routed_experts") or 1
    share = min(1.0, _number(config, "num_experts_per_tok", "top_k_experts") / count) or 1.0
    guess = typical_size(elements / 1e9, (elements - experts * (1 - share)) / 1e9)
    hidden = _number(config, "hidden_size", "n_embd", "d_model") or guess.hidden
    heads = _number(config, "num_attention_heads", "n_head") or 1
    width = _number(config, "head_dim") or hidden // heads
    return Size(
        guess.parameters,
        guess.active,
        _number(config, "num_hidden_layers", "n_layer") or guess.layers,
        hidden,
        _number(config, "intermediate_size", "n_inner") or 4 * hidden,
        width * (_number(config, "num_key_value_heads") or heads),
        _number(config, "vocab_size") or guess.vocabulary,
    )


def _number(config: Mapping[str, Any], *names: str) -> int:
    """The first of some keys that holds a whole number above 0, else 0."""
    values = (config.get(name) for name in names)
    return next((v for v in values if type(v) is int and v > 0), 0)


def typical_size(parameters: float, active: float | None = None, **shape: int) -> Size:
    """A model of so many billions, in the shape that most of its size have: about 128 wide for
    each layer, feed-forward layers of 3.5 times the width, keys of a quarter. What is known of its
    shape is given.
    """
    seen = active or parameters
    layers = max(2, round((seen * 1e9 / (12 * 128**2)) ** (1 / 3)))
    hidden = 128 * layers
    usual = Size(
        parameters, seen, layers, hidden, round(3.5 * hidden), hidden // 4,
        32_000 if seen > 0.05 else 1_000,
    )  # fmt: skip
    return replace(usual, **shape)


def named_size(repo: str) -> Size | None:
    """A guess from a repository's name, which mostly says its size: Qwen2.5-1.5B, SmolLM2-360M."""
    found = _BILLIONS.search(repo.replace("_", "-").replace("/", "-"))
    if not found:
        return None
    return typical_size(float(found[1]) * (1.0 if found[2].lower() == "b" else 1e-3))
