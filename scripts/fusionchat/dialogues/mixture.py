"""From a file of conversations to the dialogues that a run uses."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fusionchat.dialogues import formats
from fusionchat.dialogues.dialogue import Dialogue, stable_id
from fusionchat.dialogues.formats import Turns
from fusionchat.dialogues.templates import RenderingError
from fusionchat.errors import UserError
from fusionchat.files import read_json, read_jsonl, read_text
from fusionchat.readers.parquet import named_errors, read_table


@dataclass
class Report:
    """What became of the records of a mixture; positions count from 0 in its list.

    `formats`: records of each format; `unasked`, `unanswered`: dialogues that lost a leading answer
    or a trailing question; `system`: dialogues with a system message; `special_text`: dialogues in
    which a message holds the spelling of one of the pivot's special tokens.
    """

    records: int = 0
    formats: dict[str, int] = field(default_factory=dict)
    unasked: int = 0
    unanswered: int = 0
    system: int = 0
    special_text: int = 0
    malformed: dict[int, str] = field(default_factory=dict)
    not_rendered: dict[str, str] = field(default_factory=dict)
    duplicates: int = 0
    excluded: int = 0
    unknown_exclusions: int = 0
    held_out: int = 0
    beyond_limit: int = 0
    split: int = 0
    turns_too_long: dict[str, int] = field(default_factory=dict)
    training_rows: int = 0
    heldout_rows: int = 0


def read_mixture(
    path: str | os.PathLike[str], skip_malformed: bool, report: Report
) -> list[Dialogue]:
    """The distinct dialogues of a file, in any of the formats of `formats`.

    A malformed record is a `UserError` that names its position, or is noted and skipped. Of equal
    conversations the first stays.
    """
    distinct: dict[str, Dialogue] = {}
    for position, record in enumerate(read_records(path)):
        report.records += 1
        try:
            dialogue = parse_record(record, report)
        except ValueError as error:
            if not skip_malformed:
                raise UserError(
                    f"{path}, record {position}: {error}; mend it, or skip such records "
                    "(--on-error skip)"
                ) from error
            report.malformed[position] = str(error)
            continue
        report.duplicates += dialogue.dialogue_id in distinct
        distinct.setdefault(dialogue.dialogue_id, dialogue)
    report.system = sum(dialogue.system is not None for dialogue in distinct.values())
    return list(distinct.values())


def read_records(path: str | os.PathLike[str]) -> list[Any]:
    """The records of a JSON list, of JSON lines or of a Parquet file, told by the file's name."""
    suffix = Path(path).suffix.lower()
    if suffix == ".parquet":
        table = read_table(path)
        with named_errors(path):  # text that is no UTF-8 shows only here
            return table.to_pylist()
    if suffix in (".jsonl", ".ndjson"):
        return read_jsonl(path)
    records = read_json(path, half_surrogates=True)
    if not isinstance(records, list):
        raise UserError(f"{path} is not a JSON list of conversations")
    return records


def parse_record(record: Any, report: Report) -> Dialogue:
    """One record of a mixture, counted; `ValueError` says what is wrong with it."""
    name, said = formats.parse_record(record)
    category = record.get("category")
    if category is not None and not isinstance(category, str):
        raise ValueError("its `category` is not text")
    try:
        dialogue = Dialogue(stable_id(said.turns, said.system), said.turns, category, said.system)
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a surrogate pair, which is no text") from error
    report.formats[name] = report.formats.get(name, 0) + 1
    report.unasked += said.unasked
    report.unanswered += said.unanswered
    return dialogue


def renderable(
    dialogues: Iterable[Dialogue], encode: Callable[[Dialogue], object], skip: bool, report: Report
) -> list[Dialogue]:
    """The dialogues that the template can render; another is a `UserError`, or skipped and noted.

    So is a system message where the template has no place for one.
    """
    kept = []
    for dialogue in dialogues:
        try:
            encode(dialogue)
        except RenderingError as error:
            if not skip:
                raise UserError(
                    f"dialogue {dialogue.dialogue_id} ({dialogue.turns[0][0][:40]!r}): {error}; "
                    "choose another template, or skip such dialogues (--on-error skip)"
                ) from error
            report.not_rendered[dialogue.dialogue_id] = str(error)
            continue
        kept.append(dialogue)
    return kept


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
        raise UserError(
            f"heldout: {count} dialogues to hold out, but the mixture has {len(dialogues)}"
        )

    chosen = _chosen(dialogues, count, "held out")
    train = [d for d in dialogues if d.dialogue_id not in chosen]
    return train, [d for d in dialogues if d.dialogue_id in chosen]


def limit(dialogues: list[Dialogue], count: int | None, report: Report) -> list[Dialogue]:
    """At most `count` dialogues (None: all), chosen as `hold_out` chooses, in their order."""
    if count is None or count >= len(dialogues):
        return dialogues
    chosen = _chosen(dialogues, count, "limit")
    report.beyond_limit = len(dialogues) - count
    return [d for d in dialogues if d.dialogue_id in chosen]


def _chosen(dialogues: list[Dialogue], count: int, purpose: str) -> set[str]:
    """Identifiers of the `count` dialogues with the lowest hash of purpose and prompts."""

    def key(dialogue: Dialogue) -> tuple[bytes, str]:
        prompts = stable_id((prompt, "") for prompt, _ in dialogue.turns)
        digest = hashlib.sha256(f"{purpose} {prompts}".encode()).digest()
        return digest, dialogue.dialogue_id

    return {d.dialogue_id for d in sorted(dialogues, key=key)[:count]}


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

        def fits(turns: Turns, whole: Dialogue = dialogue) -> bool:
            return length(replace(whole, turns=turns)) <= limit

        blocks, dropped = split_turns(dialogue.turns, fits)
        if dropped:
            report.turns_too_long[dialogue.dialogue_id] = dropped
        if blocks == [dialogue.turns]:
            yield dialogue
            continue
        report.split += len(blocks) > 1
        for part, turns in enumerate(blocks):
            yield replace(dialogue, dialogue_id=f"{dialogue.dialogue_id}-{part}", turns=turns)
