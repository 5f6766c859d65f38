"""Whether a source is worth a training, from an alignment of a few dialogues."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fusionchat.alignment.quality import verdict
from fusionchat.dialogues.dialogue import read_dialogues
from fusionchat.logits.store import read_columns

LITTLE = 0.05  # share of the dialogues below which a teacher leaves hardly a trace
NO_CATEGORY = "(none)"


@dataclass(frozen=True)
class CategoryRow:
    """One category's dialogues that pivot and source both scored.

    Mean cross-entropies in nats a byte; `taught`: dialogues in which the source's is lower.
    """

    category: str
    dialogues: int
    source: float
    pivot: float
    taught: int


def categories(path: Path) -> dict[str, str]:
    """The category of each dialogue of a file."""
    return {one.dialogue_id: one.category or NO_CATEGORY for one in read_dialogues(path)}


def cross_entropies(path: Path) -> dict[str, float]:
    """Nats a byte of each dialogue that a model scored."""
    table = read_columns(path, ["dialogue_id", "ce_byte"])
    values = table["ce_byte"].to_numpy()
    return {n: float(v) for n, v in zip(table["dialogue_id"].to_pylist(), values, strict=True)}


def by_category(
    names: Mapping[str, str], pivot: Mapping[str, float], source: Mapping[str, float]
) -> list[CategoryRow]:
    """A row for each category, in alphabetical order."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for dialogue in names.keys() & pivot.keys() & source.keys():
        both = (source[dialogue], pivot[dialogue])
        if np.isfinite(both).all():
            groups.setdefault(names[dialogue], []).append(both)
    rows = []
    for category, values in sorted(groups.items()):
        ours, theirs = np.array(values).T
        taught = int((ours < theirs).sum())
        rows.append(CategoryRow(category, len(values), ours.mean(), theirs.mean(), taught))
    return rows


def judgement(facts: Mapping[str, Any], min_mass: float) -> str:
    """In a few words: leave the source out, expect little, or train with it."""
    contest = facts["contest"]
    if not contest["wins"]:
        return "leave it out"
    if facts["mass_kept"] < min_mass:
        return "cannot be aligned like this"
    share = contest["wins"] / contest["dialogues"]
    return "worth a training" if share >= LITTLE else "expect little"


def section(facts: Mapping[str, Any], rows: Sequence[CategoryRow], min_mass: float) -> str:
    """Markdown of one source, from the numbers of report_alignment."""
    source, pivot, kept = facts["source"], facts["pivot"], facts["mass_kept"]
    lost = (
        f" This is less than {min_mass:.0%} (alignment.min_mass), where a run stops: choose "
        "another alignment.vocabulary, or leave this source out."
        if kept < min_mass
        else ""
    )
    table = [
        f"| {row.category} | {row.dialogues} | {row.source:.3f} | {row.pivot:.3f} | {row.taught} |"
        for row in rows
    ]
    return "\n".join(
        [
            f"## {source}: {judgement(facts, min_mass)}",
            "",
            verdict(dict(facts)),
            f"{kept:.1%} of its listed probability reached the pivot's vocabulary; "
            f"{facts['rates']['fallback']:.1%} of the tokens have no distribution of it.{lost}",
            "",
            f"| category | dialogues | {source}, nats per byte | {pivot} | taught by {source} |",
            "|---|---:|---:|---:|---:|",
            *table,
            "",
        ]
    )
