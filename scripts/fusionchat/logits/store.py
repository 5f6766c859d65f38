"""The logit store: top-k log-probabilities of every response position, one row a dialogue.

A Parquet file of plain lists. Numbers are written in Parquet's BYTE_STREAM_SPLIT encoding, which
groups the first bytes of all values, then the second bytes and so on: the empty upper bytes of
token ids then cost nothing after zstd, whatever the size of the vocabulary.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fusionchat.errors import UserError
from fusionchat.files import atomic_file
from fusionchat.readers.parquet import (
    check_columns,
    open_parquet,
    read_groups,
    read_metadata,
    read_table,
)

PROVENANCE_KEY = b"fusionchat"
FORMAT_KEY = b"fusionchat.logits.store"
FORMAT = b"1"
ROW_GROUP = 256


def _list(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", kind, nullable=False))


LISTS = {
    "input_ids": pa.int32(),
    "spans": pa.int32(),
    "top_ids": pa.int32(),
    "top_logprobs": pa.float16(),
    "token_ce": pa.float16(),
}
SCHEMA = pa.schema(
    [
        pa.field("dialogue_id", pa.string(), nullable=False),
        *(pa.field(name, _list(kind), nullable=False) for name, kind in LISTS.items()),
        pa.field("ce", pa.float32(), nullable=False),
        pa.field("ce_byte", pa.float32(), nullable=False),
    ]
)

KNOWN = pa.field("known", _list(pa.float16()))  # a column that transferred rows have
# columns that a dump for a pivot's tokenizer has
STEPS = tuple(pa.field(name, _list(pa.float16())) for name in ("cut_logmass", "byte_logmass"))


@dataclass(frozen=True)
class DialogueLogits:
    """One dialogue's distributions; row r predicts response token r (N of them in all).

    `input_ids`: int32 [L]; `spans`: int32 [turns, 2], (start, length) of response tokens.
    `top_ids`: int32 [N, k]; `top_logprobs`: float16 [N, k], natural logarithm, normalised over
    the full vocabulary; -inf marks an unused slot. The mass outside is 1 - sum(exp).
    `token_ce`: float16 [N], nats; `ce`: nats a response token; `ce_byte`: nats a response byte.
    A dialogue that the model could not score has `ce` NaN and nothing but unused slots.
    `known`: float16 [N], in a store of transferred rows: the share of a row that its entries hold
    once they are renormalised; the rest is unknown. None: they hold all of it.
    `steps`: float16, two arrays, natural logarithms of the mass of the full vocabulary that begins
    as the token that stands there does: of each of its prefixes, row by row, the shortest first,
    in the pivot's tokens and in bytes. None: not stored.
    """

    dialogue_id: str
    input_ids: np.ndarray
    spans: np.ndarray
    top_ids: np.ndarray
    top_logprobs: np.ndarray
    token_ce: np.ndarray
    ce: float
    ce_byte: float
    known: np.ndarray | None = None
    steps: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def response_ids(self) -> np.ndarray:
        """The N response tokens in order, int32."""
        return self.input_ids[response_positions(self.spans)]

    @property
    def usable(self) -> bool:
        """Whether the model scored this dialogue; if not, it teaches nothing here."""
        return bool(np.isfinite(self.ce))


def unusable(dialogue_id: str, input_ids: np.ndarray, spans: np.ndarray, k: int) -> DialogueLogits:
    """The row of a dialogue that could not be scored (NaN, infinite or too long)."""
    count = int(spans[:, 1].sum())
    return DialogueLogits(
        dialogue_id,
        input_ids,
        spans,
        np.zeros((count, k), np.int32),
        np.full((count, k), -np.inf, np.float16),
        np.full(count, np.nan, np.float16),
        float("nan"),
        float("nan"),
    )


def response_positions(spans: np.ndarray) -> np.ndarray:
    """Indices of the response tokens in `input_ids`, int64 [N], from spans [turns, 2]."""
    return np.concatenate(
        [np.arange(start, start + length) for start, length in spans] or [np.empty(0, np.int64)]
    )


class LogitWriter:
    """Writes a store, whole or not at all; `provenance` goes into the file's metadata.

    `extra` names further columns, given to `write` by keyword.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        provenance: dict[str, Any],
        extra: dict[str, pa.DataType] | None = None,
    ):
        metadata = {
            FORMAT_KEY: FORMAT,
            PROVENANCE_KEY: json.dumps(provenance, sort_keys=True).encode(),
        }
        fields = [pa.field(name, kind) for name, kind in (extra or {}).items()]
        self._schema = pa.schema([*SCHEMA, *fields], metadata=metadata)
        self._path = Path(path)
        self._rows: list[tuple[DialogueLogits, dict[str, Any]]] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            partial = stack.enter_context(atomic_file(self._path))
            self._writer = stack.enter_context(
                pq.ParquetWriter(
                    partial,
                    self._schema,
                    compression="zstd",
                    use_dictionary=False,
                    write_statistics=False,
                    write_page_checksum=True,
                    column_encoding={f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in LISTS},
                )
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        with self._stack:  # closes the file and, after any error, this block's too, removes it
            if error[1] is not None:
                raise error[1]
            self._flush()

    def write(self, row: DialogueLogits, **extra: Any) -> None:
        """Append one dialogue; arrays that do not fit together raise `ValueError`."""
        _check_shapes(row)
        self._rows.append((row, extra))
        if len(self._rows) >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        columns = [self._column(field) for field in self._schema]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self._rows = []

    def _column(self, field: pa.Field) -> pa.Array:
        if field.name in LISTS:
            arrays = [np.ravel(getattr(row, field.name)) for row, _ in self._rows]
            offsets = np.cumsum([0, *(len(array) for array in arrays)], dtype=np.int32)
            kind = LISTS[field.name]
            values = np.concatenate(arrays).astype(kind.to_pandas_dtype(), copy=False)
            return pa.ListArray.from_arrays(offsets, pa.array(values, kind), type=field.type)
        if field.name in SCHEMA.names:
            return pa.array([getattr(row, field.name) for row, _ in self._rows], field.type)
        if field.name == KNOWN.name:
            return pa.array([row.known for row, _ in self._rows], field.type)
        if field in STEPS:
            index = STEPS.index(field)
            return pa.array([row.steps and row.steps[index] for row, _ in self._rows], field.type)
        return pa.array([extra.get(field.name) for _, extra in self._rows], field.type)


def _check_shapes(row: DialogueLogits) -> None:
    count = int(row.spans[:, 1].sum())
    expected = {"top_ids": (count, row.top_ids.shape[-1]), "token_ce": (count,)}
    expected["top_logprobs"] = expected["top_ids"]
    for name, shape in expected.items():
        actual = getattr(row, name).shape
        if actual != shape:
            raise ValueError(f"dialogue {row.dialogue_id}: {name} is {actual}, not {shape}")


def _open(path: str | os.PathLike[str]) -> pq.ParquetFile:
    file = open_parquet(path)
    metadata = file.schema_arrow.metadata or {}
    if PROVENANCE_KEY not in metadata:
        raise UserError(f"{path} is not a logit store: it carries no provenance")
    if metadata.get(FORMAT_KEY) != FORMAT:
        raise UserError(f"{path} is a store of another format; this program reads {FORMAT!r}")
    check_columns(path, file.schema_arrow, SCHEMA)
    return file


def read_provenance(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The facts that the writer stored: model, tokenizer, dialogues, top_k and so on."""
    return read_metadata(path, _open(path).schema_arrow, PROVENANCE_KEY, "dump_logits")


def count_dialogues(path: str | os.PathLike[str]) -> int:
    """The dialogues of a store."""
    return int(_open(path).metadata.num_rows)


def read_columns(path: str | os.PathLike[str], names: Iterable[str]) -> pa.Table:
    """Some columns of a store, whole: `ce`, or the `extra` ones its writer added."""
    _open(path)
    return read_table(path, list(names))


def read_logits(path: str | os.PathLike[str]) -> Iterator[DialogueLogits]:
    """Stream a store, row group by row group; a broken or foreign file is a `UserError`."""
    file = _open(path)
    optional = [f.name for f in (KNOWN, *STEPS) if f.name in file.schema_arrow.names]
    for table in read_groups(file, path, [*SCHEMA.names, *optional]):
        yield from _decode(table)


def read_tables(path: str | os.PathLike[str], names: Sequence[str]) -> Iterator[pa.Table]:
    """Stream some columns of a store, a table of whole columns for each row group."""
    return read_groups(_open(path), path, names)


def _decode(table: pa.Table) -> Iterator[DialogueLogits]:
    lists = {name: table[name].chunk(0) for name in LISTS}
    values = {name: array.values.to_numpy() for name, array in lists.items()}
    offsets = {name: array.offsets.to_numpy() for name, array in lists.items()}
    ce, ce_byte = (table[name].to_numpy() for name in ("ce", "ce_byte"))
    known, *steps = (
        table[f.name].chunk(0) if f.name in table.column_names else None for f in (KNOWN, *STEPS)
    )
    for i, dialogue_id in enumerate(table["dialogue_id"].to_pylist()):
        row = {n: values[n][offsets[n][i] : offsets[n][i + 1]] for n in LISTS}
        count = len(row["token_ce"])
        k = len(row["top_ids"]) // count if count else 0
        yield DialogueLogits(
            dialogue_id=dialogue_id,
            input_ids=row["input_ids"],
            spans=row["spans"].reshape(-1, 2),
            top_ids=row["top_ids"].reshape(count, k),
            top_logprobs=row["top_logprobs"].reshape(count, k),
            token_ce=row["token_ce"],
            ce=float(ce[i]),
            ce_byte=float(ce_byte[i]),
            known=None if known is None else known[i].values.to_numpy(),
            steps=_steps(steps, i),
        )


def _steps(
    columns: Sequence[pa.ListArray | None], row: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """The masses of prefixes of one dialogue; None where it was not scored, too."""
    cells = [column[row].values for column in columns if column is not None]
    arrays = [cell.to_numpy() for cell in cells if cell is not None]
    return (arrays[0], arrays[1]) if len(arrays) == len(STEPS) else None


def check_shards(paths: Iterable[str | os.PathLike[str]], keys: Iterable[str]) -> dict[str, Any]:
    """The provenance under `keys`, which all these shards must share; else a `UserError`."""
    keys = list(keys)
    shared: dict[str, Any] | None = None
    for path in paths:
        facts = {key: read_provenance(path).get(key) for key in keys}
        shared = facts if shared is None else shared
        for key in keys:
            if facts[key] != shared[key]:
                raise UserError(
                    f"{path} is a shard of another store: its {key} is {facts[key]!r}, "
                    f"that of the others {shared[key]!r}"
                )
    return shared or {}
