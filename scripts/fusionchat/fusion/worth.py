"""Whether a source is worth a training, from an alignment of a few dialogues."""

from collections.abc import Mapping
from typing import Any

from fusionchat.alignment.contest import table, teaches, verdict

LITTLE = 0.05  # share of the dialogues below which a teacher leaves hardly a trace


def judgement(facts: Mapping[str, Any], min_mass: float) -> str:
    """In a few words: leave the source out, expect little, or train with it."""
    contest = facts["contest"]
    if not teaches(facts):
        return "leave it out"
    if facts["mass_kept"] < min_mass:
        return "cannot be aligned like this"
    share = contest["wins"] / contest["dialogues"]
    return "worth a training" if share >= LITTLE else "expect little"


def section(facts: Mapping[str, Any], min_mass: float) -> str:
    """Markdown of one source, from the numbers of report_alignment."""
    kept = facts["mass_kept"]
    lost = (
        f" This is less than {min_mass:.0%} (alignment.min_mass), where a run stops: choose "
        "another alignment.vocabulary, or leave this source out."
        if kept < min_mass
        else ""
    )
    return "\n".join(
        [
            f"## {facts['source']}: {judgement(facts, min_mass)}",
            "",
            verdict(facts),
            f"{kept:.1%} of its listed probability reached the pivot's vocabulary; "
            f"{facts['rates']['fallback']:.1%} of the tokens have no distribution of it.{lost}",
            "",
            *table(facts["source"], facts["pivot"], facts["categories"]),
            "",
        ]
    )
