"""Transferred shards: a source's logit store in the pivot's vocabulary, with what was lost.

Besides the columns of the logit store each dialogue has the number of rows of each kind, the
listed probability before and after, and the lengths of the aligned groups.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa

from fusionchat.alignment import spans_file, vocabulary
from fusionchat.alignment.groups import Alignment
from fusionchat.alignment.response_tokens import (
    ResponseTokens,
    check_origin,
    dialogue_ids,
    read_tokens,
)
from fusionchat.alignment.transfer.mass import MassTransfer
from fusionchat.alignment.transfer.reference import ReferenceRules
from fusionchat.alignment.transfer.tables import FALLBACK, KINDS, ONE_TO_ONE, Transferred
from fusionchat.errors import UserError
from fusionchat.logits.imported import check_full_vocabulary
from fusionchat.logits.store import (
    KNOWN,
    DialogueLogits,
    LogitWriter,
    read_logits,
    read_provenance,
)
from fusionchat.models.token_table import TokenTable, check_ids

EXTRA = {
    **{kind: pa.int32() for kind in KINDS},
    "mass_in": pa.float64(),
    "mass_out": pa.float64(),
    "groups": pa.list_(pa.int32()),
    KNOWN.name: KNOWN.type,
}
LOSSLESS = 1e-6  # sums in another order differ by less
Transfer = Callable[[ResponseTokens, DialogueLogits, Alignment], Transferred]


@dataclass(frozen=True)
class Inputs:
    """The files of one shard, and the source's vocabulary map."""

    pivot: Path
    source: Path
    spans: Path
    vocabulary: Path


class Row(NamedTuple):
    """One dialogue of both models, and the source's distributions at the pivot's positions."""

    pivot: ResponseTokens
    source: DialogueLogits
    transferred: Transferred


def transfers(inputs: Inputs, pivot: TokenTable, source: TokenTable, rules: str) -> Iterator[Row]:
    """Stream the dialogues that the spans file holds, in its order."""
    facts = spans_file.read_facts(inputs.spans)
    vocabulary.check_tokenizers(inputs.spans, facts, pivot, source)
    check_origin(inputs.source, source)
    if rules == "mass" and not facts["equal_tokenizers"]:
        check_full_vocabulary(inputs.source, "between different tokenizers the rules `mass` need")
    check_steps(inputs.source, pivot)
    transfer = transfer_function(inputs, pivot, source, rules)
    pivot_rows, source_rows = read_tokens(inputs.pivot, pivot), read_logits(inputs.source)
    for name, alignment in spans_file.read_alignments(inputs.spans):
        p = _find(pivot_rows, name, inputs.pivot)
        s = _find(source_rows, name, inputs.source)
        check_ids(source, s.input_ids, f"{inputs.source}: dialogue {name}")
        alignment = alignment or Alignment.same(int(p.lengths.sum()))
        if len(alignment.start) != p.lengths.sum() or _reach(alignment) > len(s.top_ids):
            raise UserError(
                f"{inputs.spans}: the spans of dialogue {name} do not fit {inputs.pivot} and "
                f"{inputs.source}; align again"
            )
        yield Row(p, s, transfer(p, s, alignment))


def check_steps(path: Path, pivot: TokenTable) -> None:
    """Stop where exact steps were stored for another pivot's tokenizer."""
    named = read_provenance(path).get("exact_steps")
    if named is not None and named != pivot.identity:
        raise UserError(
            f"{path}: its exact steps are for another tokenizer than that of {pivot.name}; dump "
            "again with --exact-steps-for of this pivot, or without"
        )


def transfer_function(
    inputs: Inputs, pivot: TokenTable, source: TokenTable, rules: str
) -> Transfer:
    """The chosen rules as a function of one dialogue."""
    known = vocabulary.read(inputs.vocabulary, pivot, source)
    if rules == "reference":
        reference = ReferenceRules(pivot, source, known.mapped, known.pairs)
        return lambda p, s, alignment: reference(p, s, alignment)
    mass = MassTransfer.of(pivot, source, known.mapped)
    return lambda p, s, alignment: mass(
        p.ids, s.response_ids, alignment, s.top_ids, s.top_logprobs, s.token_ce, s.steps
    )


def _find(rows: Iterator[Any], name: str, path: Path) -> Any:
    for row in rows:
        if row.dialogue_id == name:
            return row
    raise UserError(f"{path}: dialogue {name} of the spans file is missing or in another order")


def _reach(alignment: Alignment) -> int:
    return int((alignment.start + alignment.count).max(initial=0))


class AlignedWriter:
    """Writes a transferred shard, whole or not at all, and sums what was kept."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        inputs: Inputs,
        pivot: TokenTable,
        source: TokenTable,
        rules: str,
    ):
        facts = spans_file.read_facts(inputs.spans)
        dialogues = len(dialogue_ids(inputs.pivot))
        self._excluded, self._rules = dialogues - spans_file.count_dialogues(inputs.spans), rules
        provenance = {
            "rules": rules,
            "method": facts["method"],
            "excluded": self._excluded,
            "changed": self._excluded - facts["excluded"],
            "vocabulary": pivot.fingerprint,
            "source": read_provenance(inputs.source),
        }
        self._writer = LogitWriter(path, provenance, extra=EXTRA)
        self._sums: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.__exit__(*error)

    def write(self, p: ResponseTokens, s: DialogueLogits, t: Transferred) -> None:
        """Append one dialogue; `ce` and `ce_byte` are the source's own."""
        counts = dict(zip(KINDS, np.bincount(t.kinds, minlength=len(KINDS)).tolist(), strict=True))
        mass = {"mass_in": float(t.mass_in.sum()), "mass_out": kept_mass(t)}
        begins = np.flatnonzero(t.begins)
        groups = np.diff(np.append(begins, len(t.begins))).astype(np.int32)
        logprobs, ce = t.logprobs.astype(np.float16), t.token_ce.astype(np.float16)
        ids = t.ids.astype(np.int32)
        row = DialogueLogits(
            p.dialogue_id,
            p.input_ids,
            p.spans,
            ids,
            logprobs,
            ce,
            s.ce,
            s.ce_byte,
            known_share(t) if self._rules == "mass" else np.ones(len(ids), np.float16),
        )
        self._writer.write(row, **counts, **mass, groups=groups)
        self._sums.update({**counts, **mass, "dialogues": 1})

    def summary(self) -> str:
        """One line: rows of each kind and the probability kept."""
        rows = sum(self._sums[kind] for kind in KINDS) or 1
        kinds = ", ".join(f"{kind} {self._sums[kind] / rows:.2%}" for kind in KINDS)
        kept = self._sums["mass_out"] / self._sums["mass_in"] if self._sums["mass_in"] else 1.0
        return (
            f"{self._sums['dialogues']} dialogues transferred, {self._excluded} excluded; "
            f"{kinds}; probability kept {kept:.2%}"
        )


def kept_mass(transferred: Transferred) -> float:
    """Listed probability that reached the pivot's vocabulary, summed over the rows.

    A row may hold more than was listed, as the text's own token; that makes up for no other row.
    """
    return float(np.minimum(transferred.mass_out, transferred.mass_in).sum())


def known_share(transferred: Transferred) -> np.ndarray:
    """How much of each row its entries hold once they are renormalised, float16 [N].

    One token to one token: what the list holds counts as all, as in the paper, and only what found
    no partner is unknown. Other groups: all that the entries do not hold is unknown. Empty rows
    are the pivot's to teach, and count as known.
    """
    listed = np.where(transferred.kinds == ONE_TO_ONE, transferred.mass_in, 1.0)
    share = np.minimum(1.0, transferred.mass_out / np.maximum(listed, 1e-30))
    whole = (share > 1.0 - LOSSLESS) | (transferred.kinds == FALLBACK)
    return np.where(whole, 1.0, share).astype(np.float16)
