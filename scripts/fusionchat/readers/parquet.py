"""Parquet files: opened and read with every fault as one line that names the file."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionchat.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


def open_parquet(
    path: str | os.PathLike[str], columns: "Sequence[str] | pa.Schema" = (), maker: str = ""
) -> "pq.ParquetFile":
    """Open a file and check that it has these columns.

    Anything else is a `UserError`; `maker` is the program that makes such files.
    """
    import pyarrow.parquet as pq

    hint = f"; make it with {maker}" if maker else ""
    if not Path(path).exists():
        raise UserError(f"{path} does not exist{hint}")
    with named_errors(path, hint):
        file = pq.ParquetFile(Path(path), page_checksum_verification=True)
        schema = file.schema_arrow
    check_columns(path, schema, columns, hint)
    return file


def check_columns(
    path: str | os.PathLike[str],
    schema: "pa.Schema",
    columns: "Sequence[str] | pa.Schema",
    hint: str = "",
) -> None:
    """Raise `UserError` if a file lacks one of these columns, or, given a schema, their types."""
    import pyarrow as pa

    names = columns.names if isinstance(columns, pa.Schema) else columns
    if lacking := [name for name in names if name not in schema.names]:
        raise UserError(f"{path} has no column {', '.join(lacking)}{hint}")
    for field in columns if isinstance(columns, pa.Schema) else ():
        if schema.field(field.name).type != field.type:
            kind = schema.field(field.name).type
            raise UserError(f"{path}: column {field.name} is {kind}, not {field.type}{hint}")


def check_filled(
    path: str | os.PathLike[str], table: "pa.Table", columns: Sequence[str], hint: str = ""
) -> None:
    """Raise `UserError` if one of these columns has a place without a value."""
    for name in columns:
        if table[name].null_count:
            raise UserError(f"{path} is damaged: column {name} lacks values{hint}")


def read_table(
    path: str | os.PathLike[str], columns: "Sequence[str] | pa.Schema" = (), maker: str = ""
) -> "pa.Table":
    """These columns of a file, whole; all of them where none are named."""
    import pyarrow as pa

    file = open_parquet(path, columns, maker)
    names = columns.names if isinstance(columns, pa.Schema) else list(columns)
    with named_errors(path):
        return file.read(columns=names or None)


def check_disjoint(paths: "Sequence[str | os.PathLike[str]]") -> None:
    """Raise `UserError` if two of these shards hold the same dialogue, which would count twice."""
    places: dict[str, str | os.PathLike[str]] = {}
    for path in paths:
        for name in read_table(path, ["dialogue_id"])["dialogue_id"].to_pylist():
            if name is not None and places.setdefault(name, path) is not path:
                raise UserError(
                    f"{path}: dialogue {name} is in {places[name]} too; give each shard once"
                )


def read_groups(
    file: "pq.ParquetFile", path: str | os.PathLike[str], columns: Sequence[str]
) -> "Iterator[pa.Table]":
    """Some columns of an open file, a table of whole columns for each row group."""
    for group in range(file.num_row_groups):
        yield read_group(file, path, group, columns)


def read_group(
    file: "pq.ParquetFile", path: str | os.PathLike[str], group: int, columns: Sequence[str]
) -> "pa.Table":
    """Some columns of one row group."""
    with named_errors(path):
        return file.read_row_group(group, columns=list(columns), use_threads=False).combine_chunks()


def read_metadata(
    path: str | os.PathLike[str], schema: "pa.Schema", key: bytes, maker: str
) -> dict[str, Any]:
    """The JSON object that `maker` stored under `key` in a file's metadata."""
    metadata = schema.metadata or {}
    if key not in metadata:
        raise UserError(f"{path} is not made by {maker}, or by another version of it")
    try:
        facts = json.loads(metadata[key])
    except ValueError as error:
        raise UserError(f"{path} is damaged: its metadata cannot be read: {error}") from error
    if not isinstance(facts, dict):
        raise UserError(f"{path} is damaged: its metadata is no JSON object")
    return facts


@contextmanager
def named_errors(path: str | os.PathLike[str], hint: str = "") -> Iterator[None]:
    """Errors of Arrow name the file."""
    import pyarrow as pa

    try:
        yield
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise UserError(f"{path} is damaged, truncated or not Parquet: {error}{hint}") from error
