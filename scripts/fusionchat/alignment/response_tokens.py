"""The tokens of a logit store without its distributions, and pivot and source side by side."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa

from fusionchat.errors import UserError
from fusionchat.logits.store import (
    read_columns,
    read_provenance,
    read_tables,
    response_positions,
)
from fusionchat.models import token_table
from fusionchat.models.token_table import TokenTable


@dataclass(frozen=True)
class ResponseTokens:
    """`ids`: int32 [N], response tokens of all turns; `lengths`: int64 [turns], tokens a turn.

    `input_ids`: int32 [L], the whole dialogue; `spans`: int32 [turns, 2] into it. `usable`: False
    where the model could not score the dialogue.
    """

    dialogue_id: str
    input_ids: np.ndarray
    spans: np.ndarray
    usable: bool

    @cached_property
    def ids(self) -> np.ndarray:
        """The response tokens in order."""
        return self.input_ids[response_positions(self.spans)]

    @property
    def lengths(self) -> np.ndarray:
        """Response tokens of each turn."""
        return self.spans[:, 1].astype(np.int64)


def read_tokens(path: str | os.PathLike[str], table: TokenTable) -> Iterator[ResponseTokens]:
    """Stream the tokens of a logit store; ids that `table` lacks are a `UserError`."""
    check_origin(path, table)
    columns = ["dialogue_id", "input_ids", "spans", "ce"]
    for table_of_group in read_tables(path, columns):
        lists = [_arrays(table_of_group[name].chunk(0)) for name in ("input_ids", "spans")]
        names, ces = table_of_group["dialogue_id"].to_pylist(), table_of_group["ce"].to_numpy()
        for name, input_ids, spans, ce in zip(names, *lists, ces, strict=True):
            token_table.check_ids(table, input_ids, f"{path}: dialogue {name}")
            yield ResponseTokens(name, input_ids, spans.reshape(-1, 2), bool(np.isfinite(ce)))


def _arrays(column: pa.ListArray) -> list[np.ndarray]:
    """The rows of a list column, without copying."""
    values, offsets = column.values.to_numpy(), column.offsets.to_numpy()
    return [values[a:b] for a, b in pairwise(offsets.tolist())]


def load_table(folder: str | os.PathLike[str], logits: str | os.PathLike[str]) -> TokenTable:
    """The tokenizer of a model folder, with the end of turn that the model's logit store names."""
    return token_table.load(folder, read_provenance(logits).get("end_of_turn"))


def dialogue_ids(path: str | os.PathLike[str]) -> set[str]:
    """All dialogues of a logit store."""
    return set(read_columns(path, ["dialogue_id"])["dialogue_id"].to_pylist())


def usable_ids(path: str | os.PathLike[str]) -> set[str]:
    """The dialogues of a logit store that its model could score (their CE is a number)."""
    table = read_columns(path, ["dialogue_id", "ce"])
    names, ces = table["dialogue_id"].to_pylist(), table["ce"].to_numpy()
    return {name for name, ce in zip(names, ces, strict=True) if np.isfinite(ce)}


def check_origin(path: str | os.PathLike[str], table: TokenTable) -> None:
    """Stop when a logit store names a tokenizer and it is not this one."""
    named = read_provenance(path).get("vocabulary")
    if named is not None and named != table.fingerprint:
        raise UserError(f"{path}: was not made with the tokenizer of {table.name}; dump it again")


def pair(
    pivot: Iterator[ResponseTokens], source: Iterator[ResponseTokens], common: set[str], where: str
) -> Iterator[tuple[ResponseTokens, ResponseTokens]]:
    """The dialogues in `common` of both streams, in the pivot's order.

    Streams in different orders, or with different numbers of turns, are a `UserError`.
    """
    others = (row for row in source if row.dialogue_id in common)
    for row in pivot:
        if row.dialogue_id not in common:
            continue
        other = next(others, None)
        if other is None or other.dialogue_id != row.dialogue_id:
            raise UserError(f"{where}: dialogues come in another order than in the pivot's file")
        if len(other.spans) != len(row.spans):
            raise UserError(
                f"{where}: dialogue {row.dialogue_id} has {len(other.spans)} turns, in the pivot's "
                f"file {len(row.spans)}; make both from the same dialogues"
            )
        yield row, other
