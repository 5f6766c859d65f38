"""Moving a source's distributions to the pivot's vocabulary and positions: the `mass` rules.

The rows of an aligned group spell the same bytes on both sides, so the chain rule applies:

* 1 source token to 1 pivot token: each source id goes to its partner in the vocabulary map.
* n to 1: the token that stands there gets the product of the n conditionals; the other ids of the
  first position go through the map.
* 1 to m: at each step, the ids that agree with the text so far, divided by their sum; after the
  first step they go to the pivot token that their next bytes spell.
* n to m: the same two rules, one after the other.

What has no partner, or ends where the next bytes are not known, is tail mass. A group that does
not spell the same bytes is a fallback: its rows are left empty and counted, and fusion keeps the
pivot's own distribution there. Cross-entropies add up to the source's in every group.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fusionchat.alignment import prior
from fusionchat.alignment.groups import Alignment
from fusionchat.alignment.transfer_kernel import Distributions, Tables, Transferred, transfer_groups
from fusionchat.logits.cutting import cut_texts
from fusionchat.models.token_table import NO_TOKEN, TokenTable, by_bytes

__all__ = ["MassTransfer", "Transferred"]


@dataclass(frozen=True)
class MassTransfer:
    """The `mass` rules for one pivot, one source and one vocabulary map.

    `cut_lengths`: int64 [source size], how many pivot tokens spell each token.
    """

    tables: Tables
    cut_lengths: np.ndarray

    @classmethod
    def of(cls, pivot: TokenTable, source: TokenTable, mapped: np.ndarray) -> "MassTransfer":
        """Prepare what does not depend on a dialogue; `mapped` is int32 [source size].

        Text that the map sends to the pivot's unknown token (as the released rule does with what
        it cannot map) is tail mass.
        """
        unknown = mapped == pivot.roles.get("unk", NO_TOKEN)
        mapped = np.where(unknown & ~source.special, NO_TOKEN, mapped)
        known = by_bytes(pivot)
        texts, cuts = cut_texts(source, pivot)
        return cls(
            Tables(
                *_text_bytes(pivot),
                np.array([known[data] for data in sorted(known)], np.int64),
                *_text_bytes(source),
                mapped.astype(np.int64),
                next_tokens(pivot, texts, cuts),
                *prior.build(source, texts, cuts),
            ),
            np.array([len(cut) for cut in cuts], np.int64),
        )

    def __call__(
        self,
        pivot_ids: np.ndarray,
        source_ids: np.ndarray,
        alignment: Alignment,
        top_ids: np.ndarray,
        top_logprobs: np.ndarray,
        token_ce: np.ndarray,
        steps: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Transferred:
        """Transfer one dialogue: ids int32 [N] and [M], the source's rows [M, k] and CE [M].

        `steps`: the masses of prefixes that a dump for this pivot stores.
        Where a CE is NaN (an imported dump), a token that is not listed has no probability, and
        the CE at the pivot's tokens is NaN.
        """
        with np.errstate(under="ignore"):
            mass = np.exp(top_logprobs.astype(np.float64))
        source = source_ids.astype(np.int64), top_ids.astype(np.int64)
        known = not np.isnan(token_ce).any()
        ce = np.where(np.isnan(token_ce), np.inf, token_ce).astype(np.float64)
        cut_at, byte_at = (
            np.concatenate([[0], np.cumsum(lengths[source_ids])])
            for lengths in (self.cut_lengths, np.diff(self.tables.source_offsets))
        )
        cut_mass, byte_mass = (
            np.exp(part.astype(np.float64)) for part in steps or 2 * (np.empty(0),)
        )
        if steps and (len(cut_mass), len(byte_mass)) != (cut_at[-1], byte_at[-1]):
            raise ValueError("the masses of prefixes are not those of these tokens")
        rows = Distributions(*source, mass, ce, cut_mass, cut_at, byte_mass, byte_at)
        pivot = (array.astype(np.int64) for array in (pivot_ids, alignment.start, alignment.count))
        found = transfer_groups(self.tables, rows, *pivot)
        return found if known else found._replace(token_ce=np.full(len(pivot_ids), np.nan))


def _text_bytes(table: TokenTable) -> tuple[np.ndarray, np.ndarray]:
    """Bytes and offsets of all tokens (see `TokenTable.flat`), special tokens without bytes."""
    data = [b"" if s else b for b, s in zip(table.token_bytes, table.special, strict=True)]
    flat = np.frombuffer(b"".join(data) or b"\0", np.uint8)
    return flat, np.concatenate([[0], np.cumsum([len(b) for b in data], dtype=np.int64)])


def next_tokens(
    pivot: TokenTable, texts: Sequence[bytes], cuts: Sequence[tuple[int, ...]]
) -> np.ndarray:
    """The pivot token that begins at each byte of the source's tokens, or -1; int64 [bytes].

    Where the pivot's tokenizer cuts a token, what follows there; elsewhere the longest one.
    """
    known = by_bytes(pivot)
    longest = max(map(len, known), default=0)
    following: list[int] = []
    for data, pieces in zip(texts, cuts, strict=True):
        begins = len(following)
        for at in range(len(data)):
            stops = range(min(len(data), at + longest), at, -1)
            tokens = (known[data[at:stop]] for stop in stops if data[at:stop] in known)
            following.append(next(tokens, NO_TOKEN))
        for piece in pieces:
            following[begins] = piece
            begins += len(pivot.token_bytes[piece])
    return np.array(following or [NO_TOKEN], np.int64)
