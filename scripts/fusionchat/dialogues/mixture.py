"""From a released mixture (a JSON list of conversations) to the dialogues that a run uses."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fusionchat.dialogues.dialogue import Dialogue, parse_conversations, stable_id
from fusionchat.errors import UserError
from fusionchat.files import read_json, read_text

Turns = tuple[tuple[str, str], ...]


@dataclass
class Report:
    """What became of the records of a mixture; positions count from 0 in its list."""

    records: int = 0
    malformed: dict[int, str] = field(default_factory=dict)
    duplicates: int = 0
    excluded: int = 0
    unknown_exclusions: int = 0
    held_out: int = 0
    split: int = 0
    turns_too_long: dict[str, int] = field(default_factory=dict)
    training_rows: int = 0
    heldout_rows: int = 0


def read_mixture(
    path: str | os.PathLike[str], skip_malformed: bool, report: Report
) -> list[Dialogue]:
    """The distinct dialogues of a mixture in FuseChat-Mixture's released JSON format.

    A malformed record is a `UserError` that names its position, or is noted and skipped. Of equal
    conversations the first stays.
    """
    records = read_json(path, half_surrogates=True)
    if not isinstance(records, list):
        raise UserError(f"{path} is not a JSON list of conversations")
    found: dict[str, Dialogue] = {}
    for position, record in enumerate(records):
        try:
            dialogue = parse_record(record)
        except ValueError as error:
            if not skip_malformed:
                raise UserError(
                    f"{path}, record {position}: {error}; mend it, or skip such records "
                    "(--on-error skip)"
                ) from error
            report.malformed[position] = str(error)
            continue
        report.duplicates += dialogue.dialogue_id in found
        found.setdefault(dialogue.dialogue_id, dialogue)
    report.records = len(records)
    return list(found.values())


def parse_record(record: Any) -> Dialogue:
    """One record of a mixture; `ValueError` says what is wrong with it."""
    if not isinstance(record, dict) or "conversations" not in record:
        raise ValueError("it has no `conversations`")
    category = record.get("category")
    if category is not None and not isinstance(category, str):
        raise ValueError("its `category` is not text")
    turns = parse_conversations(record["conversations"])
    try:
        return Dialogue(stable_id(turns), turns, category)
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a surrogate pair, which is no text") from error


def read_exclusions(path: str | os.PathLike[str]) -> set[str]:
    """Identifiers, one a line; empty lines and lines that begin with # do not count."""
    lines = read_text(path).split("\n")
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def exclude(dialogues: Iterable[Dialogue], names: set[str], report: Report) -> list[Dialogue]:
    """The dialogues that are not named."""
    dialogues = list(dialogues)
    kept = [d for d in dialogues if d.dialogue_id not in names]
    report.excluded = len(dialogues) - len(kept)
    report.unknown_exclusions = len(names) - report.excluded
    return kept


def hold_out(dialogues: list[Dialogue], count: int) -> tuple[list[Dialogue], list[Dialogue]]:
    """Training and held-out dialogues: the `count` with the lowest hash of what the user says.

    The choice depends neither on the order nor on the answers: other answers to the same prompts
    are held out together, and a mixture that grows keeps most of it.
    """
    if count >= len(dialogues) > 0:
        raise UserError(f"{count} dialogues to hold out, but the mixture has {len(dialogues)}")

    def key(dialogue: Dialogue) -> tuple[bytes, str]:
        prompts = stable_id((prompt, "") for prompt, _ in dialogue.turns)
        digest = hashlib.sha256(f"held out {prompts}".encode()).digest()
        return digest, dialogue.dialogue_id

    chosen = {d.dialogue_id for d in sorted(dialogues, key=key)[:count]}
    train = [d for d in dialogues if d.dialogue_id not in chosen]
    return train, [d for d in dialogues if d.dialogue_id in chosen]


def split_turns(turns: Turns, fits: Callable[[Turns], bool]) -> tuple[list[Turns], int]:
    """Blocks of consecutive turns, each as long as `fits` allows, and the turns in none.

    A turn that does not fit alone cannot be split and is left out; the next begins a new block. A
    block in which the assistant says nothing teaches nothing and is left out as well.
    """
    if fits(turns):
        return [turns], 0
    blocks: list[Turns] = []
    current: Turns = ()
    dropped = 0
    for turn in turns:
        if fits((*current, turn)):
            current = (*current, turn)
            continue
        if current:
            blocks.append(current)
        current = (turn,) if fits((turn,)) else ()
        dropped += not current
    blocks = [block for block in (*blocks, current) if any(answer for _, answer in block)]
    return blocks, dropped


def split_dialogues(
    dialogues: Iterable[Dialogue], length: Callable[[Dialogue], int], limit: int, report: Report
) -> Iterator[Dialogue]:
    """Dialogues of at most `limit` tokens; parts are named by the original and their number."""
    for dialogue in dialogues:
        blocks, dropped = split_turns(
            dialogue.turns, lambda turns: length(Dialogue("", turns)) <= limit
        )
        if dropped:
            report.turns_too_long[dialogue.dialogue_id] = dropped
        if blocks == [dialogue.turns]:
            yield dialogue
            continue
        report.split += len(blocks) > 1
        for part, turns in enumerate(blocks):
            yield Dialogue(f"{dialogue.dialogue_id}-{part}", turns, dialogue.category)
