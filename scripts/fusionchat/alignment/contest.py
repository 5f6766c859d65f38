"""Which of two models would teach a dialogue: the one with the lower cross-entropy, per byte."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fusionchat.errors import UserError
from fusionchat.files import read_json_object
from fusionchat.logits.store import read_columns
from fusionchat.readers.parquet import read_table

NO_CATEGORY = "(none)"
COLUMNS = pa.schema([("dialogue_id", pa.string()), ("category", pa.string())])


@dataclass(frozen=True)
class Contest:
    """Cross-entropies of dialogues that source and pivot both have, nats a byte, float64 [n].

    The one with the lower one teaches a dialogue (min_ce); ties go to the pivot.
    """

    source: np.ndarray
    pivot: np.ndarray

    @property
    def wins(self) -> int:
        """Dialogues that the source would teach."""
        return int((self.source < self.pivot).sum())

    def facts(self) -> dict[str, Any]:
        """Numbers of dialogues, and mean cross-entropies (None where there is no dialogue)."""
        compared = len(self.source)
        return {
            "dialogues": compared,
            "wins": self.wins,
            "source_ce_byte": float(self.source.mean()) if compared else None,
            "pivot_ce_byte": float(self.pivot.mean()) if compared else None,
        }


def categories(paths: Iterable[Path]) -> dict[str, str]:
    """The category of each dialogue of some files."""
    found: dict[str, str] = {}
    for path in paths:
        table = read_table(path, COLUMNS, "prepare_dialogues or shard_dialogues")
        named = [name or NO_CATEGORY for name in table["category"].to_pylist()]
        found.update(zip(table["dialogue_id"].to_pylist(), named, strict=True))
    return found


def cross_entropies(paths: Iterable[Path]) -> dict[str, float]:
    """Nats a byte of each dialogue of a model's logit stores."""
    found: dict[str, float] = {}
    for path in paths:
        table = read_columns(path, ["dialogue_id", "ce_byte"])
        values = table["ce_byte"].to_numpy()
        found.update(zip(table["dialogue_id"].to_pylist(), values.tolist(), strict=True))
    return found


def contest(source: Mapping[str, float], pivot: Mapping[str, float]) -> Contest:
    """Compare two models on the dialogues that both of them scored."""
    both = [(ce, pivot[name]) for name, ce in source.items() if name in pivot]
    values = np.array(both, np.float64).reshape(-1, 2)
    return Contest(*values[np.isfinite(values).all(axis=1)].T)


def by_category(
    names: Mapping[str, str], source: Mapping[str, float], pivot: Mapping[str, float]
) -> dict[str, Contest]:
    """The contest in each category, in alphabetical order; those without a dialogue are left out.

    `names`: the category of each dialogue; one that it lacks has none. Nothing if it is empty.
    """
    parts: dict[str, dict[str, float]] = {}
    for dialogue, ce in source.items() if names else ():
        parts.setdefault(names.get(dialogue, NO_CATEGORY), {})[dialogue] = ce
    contests = {name: contest(part, pivot) for name, part in sorted(parts.items())}
    return {name: one for name, one in contests.items() if len(one.source)}


def teaches(values: Mapping[str, Any]) -> bool:
    """Whether any distribution of the source would reach a target; `values`: the report's JSON."""
    return bool(values["contest"]["wins"]) and values["rates"]["fallback"] < 1.0


def verdict(values: Mapping[str, Any]) -> str:
    """One sentence: does this source teach anything, where the lower cross-entropy decides?"""
    source, pivot, facts = values["source"], values["pivot"], values["contest"]
    if not facts["dialogues"]:
        return f"{source} teaches nothing: no dialogue was scored by both it and {pivot}."
    means = (
        f"mean cross-entropy {facts['source_ce_byte']:.3f} nats per byte, "
        f"{pivot} {facts['pivot_ce_byte']:.3f}"
    )
    if values["rates"]["fallback"] == 1.0:
        how = f"none of its distributions reaches the vocabulary of {pivot}"
        return f"{source} teaches nothing: {how}."
    if not facts["wins"]:
        # Where it is never lower, equal means say that it is the same everywhere.
        equal = facts["source_ce_byte"] == facts["pivot_ce_byte"]
        how = (
            f"its cross-entropy is that of {pivot} in every dialogue"
            if equal
            else f"its cross-entropy is lower than that of {pivot} in no dialogue"
        )
        return f"{source} teaches nothing: {how} ({means})."
    share = facts["wins"] / facts["dialogues"]
    return (
        f"{source} would teach {facts['wins']} of {facts['dialogues']} dialogues "
        f"({share:.1%}), those where its cross-entropy is lower than that of {pivot} ({means})."
    )


def idle_verdict(path: Path) -> str:
    """The verdict on a source that teaches nothing, from the JSON of `report_alignment`; empty for
    any other source.
    """
    values = read_json_object(path)
    try:
        return "" if teaches(values) else verdict(values)
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is not a file of report_alignment: {error!r}") from error


def table(source: str, pivot: str, rows: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    """Markdown: a line for each category, from `Contest.facts`."""
    return [
        f"| category | dialogues | {source}, nats per byte | {pivot} | taught by {source} |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {_cell(name)} | {row['dialogues']} | {row['source_ce_byte']:.3f} "
            f"| {row['pivot_ce_byte']:.3f} | {row['wins']} ({row['wins'] / row['dialogues']:.1%}) |"
            for name, row in rows.items()
        ),
    ]


def _cell(name: str) -> str:
    return " ".join(name.replace("|", "\\|").split())
