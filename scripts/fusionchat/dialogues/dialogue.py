"""Dialogues, and the Parquet file of them in the released FuseChat-Mixture format."""

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from fusionchat.dialogues.formats import ASSISTANT, SYSTEM, USER, Turns, parse_conversations
from fusionchat.errors import UserError
from fusionchat.files import atomic_file
from fusionchat.readers.parquet import named_errors, read_table

SCHEMA = pa.schema(
    [
        ("dialogue_id", pa.string()),
        ("category", pa.string()),
        (
            "conversations",
            pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())])),
        ),
    ]
)


@dataclass(frozen=True)
class Dialogue:
    """One conversation: `turns` are (user, assistant) pairs of text.

    `system`: the system message, where it is not left to the template.
    """

    dialogue_id: str
    turns: Turns
    category: str | None = None
    system: str | None = None

    def messages(self) -> Iterator[tuple[str, str]]:
        """Speaker, as the released mixture spells it, and text of every message."""
        if self.system is not None:
            yield SYSTEM, self.system
        for user, assistant in self.turns:
            yield USER, user
            yield ASSISTANT, assistant


def stable_id(turns: Iterable[tuple[str, str]], system: str | None = None) -> str:
    """An identifier that depends on the text alone: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for turn in turns if system is None else ((SYSTEM, system), *turns):
        for text in turn:
            data = text.encode("utf-8")
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


def write_dialogues(path: str | os.PathLike[str], dialogues: Iterable[Dialogue]) -> int:
    """Write dialogues as Parquet, whole or not at all; returns how many."""
    rows = [
        {
            "dialogue_id": dialogue.dialogue_id,
            "category": dialogue.category,
            "conversations": [
                {"from": speaker, "value": text} for speaker, text in dialogue.messages()
            ],
        }
        for dialogue in dialogues
    ]
    with atomic_file(path) as partial:
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        pq.write_table(table, partial, compression="zstd", write_page_checksum=True)
    return len(rows)


def read_dialogues(path: str | os.PathLike[str]) -> list[Dialogue]:
    """Read a Parquet file of dialogues.

    A foreign, broken or empty file and an identifier that is missing or stands twice are a
    `UserError`.
    """
    table = read_table(path, SCHEMA, "prepare_dialogues or shard_dialogues")
    with named_errors(path):  # text that is no UTF-8 shows only here
        rows = table.to_pylist()
    if not rows:
        raise UserError(f"{path} holds no dialogues")
    dialogues: dict[str, Dialogue] = {}
    for number, row in enumerate(rows, 1):
        name = row["dialogue_id"]
        if not name:
            raise UserError(f"{path}: dialogue {number} has no dialogue_id")
        if name in dialogues:
            raise UserError(f"{path}: dialogue_id {name} appears twice; make the file again")
        try:
            said = parse_conversations(row["conversations"])
        except ValueError as error:
            raise UserError(f"{path}, dialogue {name}: {error}") from error
        dialogues[name] = Dialogue(name, said.turns, row["category"], said.system)
    return list(dialogues.values())


def shard(dialogues: list[Dialogue], shards: int) -> list[list[Dialogue]]:
    """Runs of consecutive dialogues whose sizes differ by at most one; none is empty."""
    if shards > len(dialogues):
        raise UserError(f"{len(dialogues)} dialogues cannot fill {shards} shards; ask for fewer")
    bounds = [len(dialogues) * i // shards for i in range(shards + 1)]
    return [dialogues[a:b] for a, b in itertools.pairwise(bounds)]
