"""What a store made from an imported dump does not know, said where it is needed."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from fusionchat.errors import UserError
from fusionchat.logits.store import read_provenance

TOP_K = "top_k"  # of `normalised`: over the listed entries alone


def check_full_vocabulary(path: str | os.PathLike[str], purpose: str) -> None:
    """Refuse a store whose log-probabilities are not over the full vocabulary."""
    if any(facts.get("normalised") == TOP_K for facts in _dumps(read_provenance(path))):
        raise UserError(
            f"{path}: {purpose} probabilities over the full vocabulary, which an imported dump "
            "does not have; dump this model instead (remove its key `logits`)"
        )


def check_token_ce(path: str | os.PathLike[str], purpose: str) -> None:
    """Refuse a store without the cross-entropy of each token."""
    if not all(facts.get("token_ce", True) for facts in _dumps(read_provenance(path))):
        raise UserError(
            f"{path}: {purpose} the cross-entropy of each token, which this imported dump does "
            "not have; dump this model instead (remove its key `logits`)"
        )


def _dumps(provenance: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The provenance of each dump behind a store, be it a dump, transferred or fused."""
    inputs = provenance.get("inputs", [provenance["source"]] if "source" in provenance else [])
    if not inputs:
        yield provenance
    for one in inputs:
        yield from _dumps(one)
