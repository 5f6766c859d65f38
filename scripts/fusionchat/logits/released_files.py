"""The files of a released dump: a folder that `datasets` saved or that was downloaded from the hub.

Arrow files are mapped into memory, Parquet files read a row group at a time. Nothing is unpickled,
and no code in the folder is run.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fusionchat.errors import UserError
from fusionchat.readers.parquet import open_parquet, read_group

TOKEN_CE = "per_step_metric_ce"
NESTING = {  # how deep the lists of each column are
    "input_ids": 1,
    "attention_mask": 1,
    "labels": 1,
    "per_step_logits": 2,
    "per_step_indices": 2,
    "metric_ce": 0,
}
NUMBERED = re.compile(r"(.+)-\d+-of-(\d+)\.\w+")


class Chunk(NamedTuple):
    """Some rows of a file; `read` gives the named columns of them."""

    rows: int
    read: Callable[[Sequence[str]], pa.RecordBatch]


class Place(NamedTuple):
    """Where a dialogue lies: number of the file, of the chunk in it and of the row in that."""

    file: int
    chunk: int
    row: int


class ReleasedFiles:
    """The rows of a folder; a foreign, incomplete or damaged folder is a `UserError`.

    `rows`: number of dialogues; `has_token_ce`: whether every file has the optional column
    `per_step_metric_ce`. One file is open at a time, so that memory stays that of one file.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        self._paths = find(self.folder)
        self.rows, self.has_token_ce = 0, True
        for path in self._paths:
            schema, chunks = _open(path)
            _check_columns(schema, path)
            self.rows += sum(chunk.rows for chunk in chunks)
            self.has_token_ce &= TOKEN_CE in schema.names
        self._names = [*NESTING, TOKEN_CE] if self.has_token_ce else [*NESTING]
        self._file: tuple[int, list[Chunk]] = (-1, [])
        self._chunk: tuple[int, int, pa.RecordBatch] = (-1, -1, pa.record_batch({}))

    def stream(self, names: Sequence[str]) -> Iterator[tuple[Place, pa.RecordBatch]]:
        """Some columns of every chunk, with the place of its first row."""
        for file, path in enumerate(self._paths):
            for number, chunk in enumerate(_open(path)[1]):
                with _named(path):
                    batch = chunk.read(names)
                yield Place(file, number, 0), batch

    def row(self, place: Place) -> dict[str, np.ndarray]:
        """One dialogue: an array a column, as deep as `NESTING` says.

        File and chunk are kept: dialogues are asked for nearly in the order of the files.
        """
        path = self._paths[place.file]
        if self._file[0] != place.file:
            self._file = place.file, _open(path)[1]
        with _named(path):
            if self._chunk[:2] != place[:2]:
                self._chunk = *place[:2], self._file[1][place.chunk].read(self._names)
            batch = self._chunk[2].slice(place.row, 1)
            return {name: _values(batch.column(name), name, path) for name in self._names}


def find(folder: Path) -> list[Path]:
    """The Arrow files below a folder, or where there are none the Parquet files, in order.

    What `datasets` keeps for itself (`cache-*`) does not count. A folder that lacks some of its
    numbered files, or has none at all, is a `UserError`.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    for ending in ("arrow", "parquet"):
        paths = sorted(p for p in folder.rglob(f"*.{ending}") if not p.name.startswith("cache-"))
        if paths:
            _check_complete(paths)
            return paths
    raise UserError(f"{folder} holds no .arrow or .parquet file; it must be a released dump")


def _check_complete(paths: Sequence[Path]) -> None:
    numbered = [(path, match) for path in paths if (match := NUMBERED.fullmatch(path.name))]
    present = Counter((path.parent, match[1], int(match[2])) for path, match in numbered)
    for (folder, name, promised), count in present.items():
        if count != promised:
            raise UserError(
                f"{folder} holds {count} of the {promised} files {name}-*; download the others"
            )


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of Arrow name the file."""
    try:
        yield
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise UserError(
            f"{path} is damaged, incomplete or in another format (a download that was cut off, "
            f"a Git LFS pointer?): {error}"
        ) from error


def _open(path: Path) -> tuple[pa.Schema, list[Chunk]]:
    with _named(path):
        return _open_parquet(path) if path.suffix == ".parquet" else _open_arrow(path)


def _open_arrow(path: Path) -> tuple[pa.Schema, list[Chunk]]:
    reader = pa.ipc.open_stream(pa.memory_map(str(path)))
    chunks = []
    for batch in reader:
        batch.validate()
        chunks.append(Chunk(batch.num_rows, batch.select))
    return reader.schema, chunks


def _open_parquet(path: Path) -> tuple[pa.Schema, list[Chunk]]:
    file = open_parquet(path)

    def reader(group: int) -> Callable[[Sequence[str]], pa.RecordBatch]:
        def read(names: Sequence[str]) -> pa.RecordBatch:
            return read_group(file, path, group, names).to_batches()[0]

        return read

    counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    chunks = [Chunk(rows, reader(group)) for group, rows in enumerate(counts) if rows]
    return file.schema_arrow, chunks


def _check_columns(schema: pa.Schema, path: Path) -> None:
    for name, depth in {**NESTING, TOKEN_CE: 1}.items():
        if name not in schema.names:
            if name == TOKEN_CE:
                continue
            raise UserError(f"{path} has no column {name}; it is no released dump")
        kind, levels = schema.field(name).type, 0
        while _is_list(kind):
            kind, levels = kind.value_type, levels + 1
        if levels != depth or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise UserError(
                f"{path}: column {name} is {schema.field(name).type}, not numbers in lists of "
                f"depth {depth}"
            )


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def split(column: pa.Array) -> list[np.ndarray]:
    """The rows of a column of lists of numbers."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    bounds = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).tolist()
    values = column.flatten().to_numpy(zero_copy_only=False)
    return [values[a:b] for a, b in pairwise(bounds)]


def _values(column: pa.Array, name: str, path: Path) -> np.ndarray:
    """The numbers of a column of one row: [] , [L] or [L, k]."""
    shape: tuple[int, ...] = ()
    for _ in range(NESTING.get(name, 1)):
        widths = pc.unique(pc.list_value_length(column))
        if len(widths) > 1 or widths.null_count:
            raise UserError(f"{path}: the lists of column {name} differ in length")
        shape = (*shape, widths[0].as_py() if len(widths) else 0)
        column = column.flatten()
    values = column.to_numpy(zero_copy_only=False)
    return values.reshape(shape) if shape else values[0]
