"""The spans file: how each dialogue of a shard was aligned, and the shard's pair counts.

One row a dialogue; one last row without `dialogue_id` holds the pair counts (see docs/formats.md).
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fusionchat.alignment.groups import Alignment
from fusionchat.errors import UserError
from fusionchat.files import atomic_file
from fusionchat.logits.store import ROW_GROUP
from fusionchat.readers.parquet import check_columns, open_parquet, read_groups, read_metadata

METADATA_KEY = b"fusionchat_spans"
PAIR = pa.struct(
    [
        ("pivot", pa.int32()),
        ("source", pa.int32()),
        ("count", pa.int64()),
        ("groups", pa.int64()),
    ]
)
SCHEMA = pa.schema(
    [
        ("dialogue_id", pa.string()),
        ("identity", pa.bool_()),
        ("start", pa.list_(pa.int32())),
        ("count", pa.list_(pa.int32())),
        ("pairs", pa.list_(PAIR)),
    ]
)
ENCODING = {f"{name}.list.element": "DELTA_BINARY_PACKED" for name in ("start", "count")}


class SpansWriter:
    """Writes a spans file, whole or not at all; `facts` go into its metadata."""

    def __init__(self, path: str | os.PathLike[str], facts: dict[str, Any]):
        metadata = {METADATA_KEY: json.dumps(facts, sort_keys=True).encode()}
        self._schema = SCHEMA.with_metadata(metadata)
        self._path = Path(path)
        self._rows: list[tuple[str, Alignment]] = []

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        partial = self._stack.enter_context(atomic_file(self._path))
        self._writer = pq.ParquetWriter(
            partial,
            self._schema,
            compression="zstd",
            use_dictionary=["dialogue_id"],
            write_page_checksum=True,
            column_encoding=ENCODING,
        )
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.close()
        self._stack.__exit__(*error)

    def write(self, dialogue_id: str, alignment: Alignment) -> None:
        """Append one dialogue."""
        self._rows.append((dialogue_id, alignment))
        if len(self._rows) >= ROW_GROUP:
            self._flush()

    def finish(self, *counted: np.ndarray) -> None:
        """Append the table of `PairCounts`."""
        self._flush()
        pairs = pair_array(counted)
        columns = [pa.nulls(1, f.type) for f in list(SCHEMA)[:-1]]
        columns.append(pa.ListArray.from_arrays(pa.array([0, len(pairs)], pa.int32()), pairs))
        self._write(columns)

    def _flush(self) -> None:
        if self._rows:
            names, alignments = zip(*self._rows, strict=True)
            self._write(
                [
                    pa.array(names),
                    pa.array([a.identity for a in alignments]),
                    _lists([a.start[:0] if a.identity else a.start for a in alignments]),
                    _lists([a.count[:0] if a.identity else a.count for a in alignments]),
                    pa.nulls(len(names), SCHEMA.field("pairs").type),
                ]
            )
            self._rows = []

    def _write(self, columns: list[pa.Array]) -> None:
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))


def pair_array(columns: Iterable[np.ndarray]) -> pa.StructArray:
    """Pairs and their counts, a column for each field of PAIR."""
    arrays = [pa.array(column, f.type) for column, f in zip(columns, PAIR, strict=True)]
    return pa.StructArray.from_arrays(arrays, fields=list(PAIR))


def pair_columns(pairs: pa.ListArray) -> tuple[np.ndarray, ...]:
    """The fields of all pairs of a column: pivot ids, source ids, counts, groups; int64 each."""
    values = pairs.flatten()
    return tuple(values.field(i).to_numpy().astype(np.int64) for i in range(len(PAIR)))


def _lists(parts: list[np.ndarray]) -> pa.ListArray:
    offsets = np.cumsum([0, *map(len, parts)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(np.concatenate(parts)))


def read_facts(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Method, tokenizers and counts that the writer stored."""
    return read_metadata(path, _open(path).schema_arrow, METADATA_KEY, "align_tokens")


def count_dialogues(path: str | os.PathLike[str]) -> int:
    """The dialogues that were aligned; one more row holds the pair counts."""
    return _open(path).metadata.num_rows - 1


def read_alignments(path: str | os.PathLike[str]) -> Iterator[tuple[str, Alignment | None]]:
    """Stream (dialogue_id, alignment); None stands for identity, of whatever length."""
    columns, ends = ["dialogue_id", "identity", "start", "count"], 0
    for table in read_groups(_open(path), path, columns):
        names, identities = (table[c].to_pylist() for c in columns[:2])
        starts, counts = (table[c].chunk(0) for c in columns[2:])
        bounds = starts.offsets.to_numpy()
        start, count = starts.values.to_numpy(), counts.values.to_numpy()
        for row, (name, identity) in enumerate(zip(names, identities, strict=True)):
            ends += name is None
            if name is not None:
                part = slice(bounds[row], bounds[row + 1])
                yield name, None if identity else Alignment(start[part], count[part])
    if ends != 1:
        raise UserError(f"{path} is damaged: it does not end with its pair counts; align again")


def read_pairs(path: str | os.PathLike[str]) -> tuple[np.ndarray, ...]:
    """The pair counts of a shard, the table of `PairCounts`."""
    columns = ["dialogue_id", "pairs"]
    ends = [t for t in read_groups(_open(path), path, columns) if t["dialogue_id"].null_count]
    counted = [t["dialogue_id"].null_count == 1 and t["pairs"][-1].is_valid for t in ends]
    if counted != [True]:
        raise UserError(f"{path} is damaged: it does not end with its pair counts; align again")
    return pair_columns(ends[0]["pairs"].combine_chunks())


def _open(path: str | os.PathLike[str]) -> pq.ParquetFile:
    file = open_parquet(path, maker="align_tokens")
    if METADATA_KEY not in (file.schema_arrow.metadata or {}):
        raise UserError(f"{path} is not a spans file; make it with align_tokens")
    check_columns(path, file.schema_arrow, SCHEMA)
    return file
