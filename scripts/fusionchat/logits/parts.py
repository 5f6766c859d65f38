"""Parts of an unfinished logit store: what a killed job has done is not done again."""

import logging
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa

from fusionchat.files import kept_part, parts_folder, remove_partials
from fusionchat.logits.store import DialogueLogits, LogitWriter, read_logits, read_provenance


class Parts:
    """The parts of the store `output`, in a hidden folder beside it until `finish`.

    Each part is a store of its own, whole or not there, with the provenance of the final one; what
    an earlier run with other arguments, model or dialogues left is thrown away. `extra`: further
    columns.
    """

    def __init__(
        self,
        output: str | os.PathLike[str],
        provenance: dict[str, Any],
        extra: dict[str, pa.DataType] | None = None,
    ):
        self._extra = extra
        self._output = Path(output)
        self._provenance = provenance
        self._folder = parts_folder(self._output)

    def missing(self, count: int) -> list[int]:
        """Which of the parts 0 to count - 1 are still to be made; cleans up after killed runs."""
        remove_partials(self._output)
        return [index for index in range(count) if not self._has(index)]

    def _path(self, index: int) -> Path:
        return self._folder / f"{index:06d}.parquet"

    def _has(self, index: int) -> bool:
        """Whether a part is there and belongs to this store; a foreign one is removed."""
        return kept_part(self._path(index), self._provenance, read_provenance)

    def write(self, index: int, rows: list[DialogueLogits]) -> None:
        """Store one part."""
        with LogitWriter(self._path(index), self._provenance, self._extra) as writer:
            for row in rows:
                writer.write(row)

    def finish(self, count: int) -> None:
        """Join `count` parts into the output and remove them."""
        with LogitWriter(self._output, self._provenance, self._extra) as writer:
            for index in range(count):
                for row in read_logits(self._path(index)):
                    writer.write(row)
        shutil.rmtree(self._folder, ignore_errors=True)


def report(path: str | os.PathLike[str], missing: Collection[str] = ()) -> dict[str, Any]:
    """Counts of a finished store, and the dialogues that were not scored, by reason.

    `missing` names dialogues that an imported dump does not have.
    """
    limit = read_provenance(path)["max_length"]
    facts: dict[str, Any] = {"dialogues": 0, "tokens": 0, "response_tokens": 0}
    reasons: dict[str, list[str]] = {"too_long": [], "not_finite": [], "missing": []}
    lacking = set(missing)
    for row in read_logits(path):
        facts["dialogues"] += 1
        facts["tokens"] += len(row.input_ids)
        facts["response_tokens"] += len(row.token_ce)
        if not row.usable:
            too_long = limit is not None and len(row.input_ids) > limit
            reason = "missing" if row.dialogue_id in lacking else "not_finite"
            reasons["too_long" if too_long else reason].append(row.dialogue_id)
    for reason, names in reasons.items():
        if names:
            logging.warning("%s: %d dialogues not scored: %s", path, len(names), reason)
    return {**facts, **reasons}
