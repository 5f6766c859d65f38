"""The Parquet file of one model's scores: a row a document, and the parts of an unfinished one."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fusionchat.files import atomic_file, kept_part, parts_folder, remove_partials
from fusionchat.readers.parquet import check_filled, read_metadata, read_table

MAKER = "evaluate_tasks"
_KEY = b"fusionchat"
SCHEMA = pa.schema(
    [
        ("task", pa.string()),  # as the configuration names it, maybe a group
        ("subtask", pa.string()),  # a task without parts; the same where the task is none
        ("document", pa.string()),  # the harness's number of it
        ("value", pa.float64()),  # of the metric
    ]
)
Document = tuple[str, float]


def write_documents(path: str | os.PathLike[str], table: pa.Table, facts: dict[str, Any]) -> None:
    """Write rows of `SCHEMA`; `facts` say what they depend on."""
    metadata = {_KEY: json.dumps(facts, sort_keys=True)}
    with atomic_file(path) as partial:
        pq.write_table(
            table.replace_schema_metadata(metadata),
            partial,
            compression="zstd",
            write_page_checksum=True,
        )


def read_documents(path: str | os.PathLike[str]) -> tuple[pa.Table, dict[str, Any]]:
    """The rows of a file of `evaluate_tasks` and its facts; any other file is a `UserError`."""
    table = read_table(path, SCHEMA, MAKER)
    facts = read_metadata(path, table.schema, _KEY, MAKER)
    check_filled(path, table, SCHEMA.names)
    return table, facts


class Parts:
    """Finished tasks of an unfinished file, in a hidden folder beside it: none is run twice."""

    def __init__(self, output: Path, facts: dict[str, Any]) -> None:
        self._output = output
        self._facts = facts
        self._folder = parts_folder(output)
        remove_partials(output)

    def _path(self, subtask: str) -> Path:
        return self._folder / f"{subtask}.parquet"

    def has(self, subtask: str) -> bool:
        """Whether a task is there and of this very run; a foreign one is removed."""
        return kept_part(self._path(subtask), self._facts, lambda path: read_documents(path)[1])

    def write(self, task: str, subtask: str, documents: Sequence[Document]) -> None:
        """Store one finished task."""
        names, values = zip(*documents, strict=True)
        count = len(names)
        table = pa.table([[task] * count, [subtask] * count, names, values], schema=SCHEMA)
        write_documents(self._path(subtask), table, self._facts)

    def finish(self, subtasks: Sequence[str]) -> None:
        """Join the tasks into the output and remove them."""
        tables = [read_documents(self._path(name))[0].cast(SCHEMA) for name in subtasks]
        write_documents(self._output, pa.concat_tables(tables), self._facts)
        shutil.rmtree(self._folder, ignore_errors=True)
