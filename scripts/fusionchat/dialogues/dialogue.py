"""Dialogues: the released FuseChat-Mixture format, its checks, and the Parquet file of them."""

import hashlib
import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fusionchat.errors import UserError
from fusionchat.files import atomic_file
from fusionchat.readers.parquet import named_errors, read_table

USER, ASSISTANT = "human", "gpt"

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
    """One conversation: `turns` are (user, assistant) pairs of text."""

    dialogue_id: str
    turns: tuple[tuple[str, str], ...]
    category: str | None = None


def stable_id(turns: Iterable[tuple[str, str]]) -> str:
    """An identifier that depends on the text alone: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for turn in turns:
        for text in turn:
            data = text.encode("utf-8")
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


def parse_conversations(messages: Any) -> tuple[tuple[str, str], ...]:
    """Turn released messages (`from`, `value`) into (user, assistant) pairs.

    A leading assistant message and a trailing user message are dropped, as in the authors' code.
    Anything else that does not alternate, and a conversation without any text of the assistant,
    raises `ValueError` with the reason.
    """
    if not isinstance(messages, list) or not messages:
        raise ValueError("`conversations` is not a list of messages")
    speakers, texts = [], []
    for position, message in enumerate(messages):
        if not isinstance(message, dict) or not {"from", "value"} <= message.keys():
            raise ValueError(f"message {position} lacks `from` or `value`")
        if message["from"] not in (USER, ASSISTANT):
            raise ValueError(f"message {position} is from {message['from']!r}, not human or gpt")
        if not isinstance(message["value"], str):
            raise ValueError(f"message {position} has a `value` that is not text")
        speakers.append(message["from"])
        texts.append(message["value"])
    start = 1 if speakers[0] == ASSISTANT else 0
    stop = len(speakers) - (speakers[-1] == USER)
    speakers, texts = speakers[start:stop], texts[start:stop]
    if not speakers:
        raise ValueError("there is no user message followed by an assistant message")
    if speakers != [USER, ASSISTANT] * (len(speakers) // 2):
        raise ValueError("user and assistant messages do not alternate")
    if not any(texts[1::2]):
        raise ValueError("all assistant messages are empty")
    return tuple(zip(texts[::2], texts[1::2], strict=True))


def write_dialogues(path: str | os.PathLike[str], dialogues: Iterable[Dialogue]) -> int:
    """Write dialogues as Parquet, whole or not at all; returns how many."""
    rows = [
        {
            "dialogue_id": dialogue.dialogue_id,
            "category": dialogue.category,
            "conversations": [
                {"from": speaker, "value": text}
                for turn in dialogue.turns
                for speaker, text in zip((USER, ASSISTANT), turn, strict=True)
            ],
        }
        for dialogue in dialogues
    ]
    with atomic_file(path) as partial:
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        pq.write_table(table, partial, compression="zstd", write_page_checksum=True)
    return len(rows)


def read_dialogues(path: str | os.PathLike[str]) -> list[Dialogue]:
    """Read a Parquet file of dialogues; a foreign or broken file is a `UserError`."""
    table = read_table(path, SCHEMA, "prepare_dialogues or shard_dialogues")
    with named_errors(path):  # text that is no UTF-8 shows only here
        rows = table.to_pylist()
    dialogues = []
    for row in rows:
        try:
            turns = parse_conversations(row["conversations"])
        except ValueError as error:
            raise UserError(f"{path}, dialogue {row['dialogue_id']}: {error}") from error
        dialogues.append(Dialogue(row["dialogue_id"], turns, row["category"]))
    return dialogues


def shard(dialogues: list[Dialogue], shards: int) -> list[list[Dialogue]]:
    """Runs of consecutive dialogues whose sizes differ by at most one; none is empty."""
    if shards > len(dialogues):
        raise UserError(f"{len(dialogues)} dialogues cannot fill {shards} shards; ask for fewer")
    bounds = [len(dialogues) * i // shards for i in range(shards + 1)]
    return [dialogues[a:b] for a, b in itertools.pairwise(bounds)]
