"""Moving a source's distributions to the pivot's vocabulary and positions: the `mass` rules.

The rows of an aligned group spell the same bytes on both sides. A row asks: of all that the source
may write so that the pivot's tokens of the group so far are those of the text, how much goes on
with each pivot token? What it writes is cut by the pivot's tokenizer.

* 1 source token to 1 pivot token: each source id goes to its partner in the vocabulary map.
* Otherwise, at the group's first token: the same, but the text's own token is followed to the next
  ones, until the pivot's tokenizer cuts as in the text; what goes on otherwise on the way goes to
  the token that the pivot makes of it.
* At its further tokens: the ids whose cut, behind the text so far, begins as the text, divided by
  their sum with what is not listed and begins so.

What has no partner, or ends where the next bytes are not known, is tail mass. A group that does
not spell the same bytes is a fallback, and so is a row of which no listed token has a partner: such
rows are left empty and counted, and fusion keeps the pivot's own distribution there.
Cross-entropies add up to the source's in every group.
"""

from dataclasses import dataclass

import numpy as np

from fusionchat.alignment.groups import Alignment
from fusionchat.alignment.spelling import Text, same_text
from fusionchat.alignment.transfer import prior
from fusionchat.alignment.transfer.joins import Joins
from fusionchat.alignment.transfer.kernel import joins, transfer_groups
from fusionchat.alignment.transfer.tables import Distributions, Tables, Transferred
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
    joined: Joins

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
        joined = Joins(pivot, texts, cuts)
        tables = Tables(
            Text.of(pivot),
            np.array([known[data] for data in sorted(known)], np.int64),
            Text.of(source),
            mapped.astype(np.int64),
            joined.alone,
            *prior.build(source, texts, cuts),
        )
        return cls(tables, np.array([len(cut) for cut in cuts], np.int64), joined)

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
        rows = self._distributions(source_ids, top_ids, top_logprobs, token_ce, steps)
        wide = (a.astype(np.int64) for a in (pivot_ids, alignment.start, alignment.count))
        pivot, start, count = wide
        same = same_text(self.tables.pivot, self.tables.source, pivot, rows.token, start, count)
        groups = pivot, start, count, same
        cuts = self.joined(rows.token, rows.ids, joins(self.tables, rows, *groups))
        found = transfer_groups(self.tables, rows, cuts, *groups)
        if np.isnan(token_ce).any():
            return found._replace(token_ce=np.full(len(pivot_ids), np.nan))
        return found

    def _distributions(
        self,
        source_ids: np.ndarray,
        top_ids: np.ndarray,
        top_logprobs: np.ndarray,
        token_ce: np.ndarray,
        steps: tuple[np.ndarray, np.ndarray] | None,
    ) -> Distributions:
        with np.errstate(under="ignore"):
            mass = np.exp(np.ascontiguousarray(top_logprobs, np.float64))
        ce = np.where(np.isnan(token_ce), np.inf, token_ce).astype(np.float64)
        cut_at, byte_at = (
            np.concatenate([[0], np.cumsum(lengths[source_ids])])
            for lengths in (self.cut_lengths, np.diff(self.tables.source.offsets))
        )
        cut_mass, byte_mass = (
            np.exp(part.astype(np.float64)) for part in steps or 2 * (np.empty(0),)
        )
        if steps and (len(cut_mass), len(byte_mass)) != (cut_at[-1], byte_at[-1]):
            raise ValueError("the masses of prefixes are not those of these tokens")
        token, listed = (np.ascontiguousarray(a, np.int64) for a in (source_ids, top_ids))
        return Distributions(token, listed, mass, ce, cut_mass, cut_at, byte_mass, byte_at)
