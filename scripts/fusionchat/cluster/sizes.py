"""How large a model is, from the sizes in the configuration."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BYTES = {"float32": 4.0, "bfloat16": 2.0}  # of a weight


@dataclass(frozen=True)
class Size:
    """Billions of parameters: all, and those that see each token."""

    parameters: float
    active: float


def pretrained_size(shape: Mapping[str, Any]) -> Size:
    """Parameters of a model that the workflow trains from scratch, embeddings untied."""
    hidden, layers = shape["hidden_size"], shape["layers"]
    key_values = hidden * shape["kv_heads"] / shape["heads"]
    attention = 2 * hidden * hidden + 2 * hidden * key_values
    expert = 3 * hidden * shape["intermediate_size"]
    mixture = shape["architecture"] == "mixtral"
    embeddings = 2 * hidden * (shape["vocabulary"] + 1)
    experts, seen = (shape["experts"], 2) if mixture else (1, 1)
    return Size(
        (embeddings + layers * (attention + experts * expert)) / 1e9,
        (embeddings + layers * (attention + seen * expert)) / 1e9,
    )
