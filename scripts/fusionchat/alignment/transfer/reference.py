"""Distribution transfer by the rules of the released code (FuseLLM, FuseChat), for comparison.

Position i holds the distribution that follows token i. Where nothing matches, the released code
puts all probability on the token AT position i, although that position predicts the next one; it
is kept here, and counted as fallback.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from fusionchat.alignment.groups import Alignment
from fusionchat.alignment.response_tokens import ResponseTokens
from fusionchat.alignment.transfer.tables import (
    FALLBACK,
    MANY_TO_ONE,
    ONE_TO_MANY,
    ONE_TO_ONE,
    Transferred,
)
from fusionchat.alignment.vocabulary import Pairs
from fusionchat.logits.store import DialogueLogits
from fusionchat.models.token_table import NO_TOKEN, TokenTable

KIND_OF_BRANCH = {
    "one_to_one": ONE_TO_ONE,
    "many_to_one": ONE_TO_MANY,  # many pivot tokens share one source token
    "single_onehot": FALLBACK,
    "multi_onehot_nomatrix": FALLBACK,
    "multi_exact": MANY_TO_ONE,
    "multi_substring": MANY_TO_ONE,
    "multi_concat": MANY_TO_ONE,
    "multi_onehot_nomatch": FALLBACK,
}
Distribution = dict[int, float]  # pivot id to logit, in the order in which ids were found


class ReferenceTransfer:
    """The released rules for two vocabularies, a map and pair counts.

    `mapped`: int32 [source size], used where the pivot has no token of the same spelling.
    `use_counts` is the released code's flag `use_token_alignment_matrix`.
    """

    def __init__(
        self,
        pivot_pieces: Sequence[str],
        source_pieces: Sequence[str],
        markers: tuple[str, str],
        mapped: np.ndarray,
        pairs: Pairs,
        use_counts: bool = True,
    ):
        self._pivot = pivot_pieces
        self._space = markers[0]
        self._source = [
            p.replace(markers[1], markers[0]) if markers[1] else p for p in source_pieces
        ]
        ids = {piece: index for index, piece in reversed(list(enumerate(pivot_pieces)))}
        self._target = [
            ids.get(piece, int(other)) for piece, other in zip(self._source, mapped, strict=True)
        ]
        self._pairs, self._use_counts = pairs, use_counts
        self._pair_keys = pairs.source * len(pivot_pieces) + pairs.pivot

    def rows(
        self,
        pivot_ids: Sequence[int],
        source_ids: Sequence[int],
        partners: Sequence[Sequence[int]],
        top_ids: np.ndarray,
        logits: np.ndarray,
    ) -> list[tuple[Distribution, str]]:
        """(distribution, branch) for each of n pivot positions.

        `partners`: the source positions of each pivot position, ascending; `top_ids`, `logits`:
        [source positions, k].
        """
        uses = Counter(position for row in partners for position in row)
        merged_rows = []
        for pivot_id, positions in zip(pivot_ids, partners, strict=True):
            branch, used = self._branch(pivot_id, positions, source_ids, uses)
            weights = np.ones(len(used))
            if branch == "multi_concat":
                weights = self._weights(pivot_id, [source_ids[i] for i in used])
            merged: Distribution = {} if used else {int(pivot_id): 1.0}
            for position, weight in zip(used, weights.tolist(), strict=True):
                for token, logit in self._mapped(top_ids[position], logits[position]).items():
                    merged[token] = max(merged.get(token, -np.inf), logit * weight)
            merged_rows.append((merged, branch))
        return merged_rows

    def _branch(
        self, pivot_id: int, positions: Sequence[int], source_ids: Sequence[int], uses: Counter[int]
    ) -> tuple[str, list[int]]:
        """Which rule applies, and the source positions whose distributions it takes."""
        piece = self._pivot[pivot_id]
        spelled = [(i, self._source[source_ids[i]]) for i in positions]
        containing = [i for i, text in spelled if piece in text]
        if len(positions) == 1:
            if not containing:
                return "single_onehot", []
            return ("many_to_one" if uses[positions[0]] > 1 else "one_to_one"), containing
        if not self._use_counts:
            return "multi_onehot_nomatrix", []
        if piece != self._space:
            equal = [i for i, text in spelled if text == piece]
            if equal:
                return "multi_exact", equal[:1]
            if containing:
                return "multi_substring", containing[:1]
        rest, used = piece, []
        for position, text in spelled:
            if text and rest.startswith(text):
                rest = rest[len(text) :]
                used.append(position)
        return ("multi_onehot_nomatch", []) if rest else ("multi_concat", used)

    def _weights(self, pivot_id: int, source_ids: Sequence[int]) -> np.ndarray:
        """Softmax of the raw pair counts, as released (nearly one-hot)."""
        keys = np.array(source_ids, np.int64) * len(self._pivot) + pivot_id
        at = np.searchsorted(self._pair_keys, keys)
        at_end = np.minimum(at, max(len(self._pair_keys) - 1, 0))
        counts = np.zeros(len(keys))
        if len(self._pair_keys):
            counts = np.where(self._pair_keys[at_end] == keys, self._pairs.count[at_end], 0.0)
        weights = np.exp(counts - counts.max())
        return weights / weights.sum()

    def _mapped(self, ids: np.ndarray, logits: np.ndarray) -> Distribution:
        """One distribution in pivot ids; only the first entry of an id is kept."""
        by_target: Distribution = {}
        for index, logit in zip(ids.tolist(), logits.tolist(), strict=True):
            target = self._target[index] if index < len(self._target) else NO_TOKEN
            if target != NO_TOKEN and np.isfinite(logit):
                by_target.setdefault(target, logit)
        return by_target


class ReferenceRules:
    """The released rules on the rows of a logit store, dialogue by dialogue."""

    def __init__(self, pivot: TokenTable, source: TokenTable, mapped: np.ndarray, pairs: Pairs):
        markers = (pivot.marker, source.marker)
        self._rules = ReferenceTransfer(pivot.pieces, source.pieces, markers, mapped, pairs)

    def __call__(self, p: ResponseTokens, s: DialogueLogits, alignment: Alignment) -> Transferred:
        """Transfer one dialogue, turn by turn."""
        parts, pivot_end, source_end = [], 0, 0
        for (p_start, n), (s_start, m) in zip(p.spans.tolist(), s.spans.tolist(), strict=True):
            here = slice(pivot_end, pivot_end + n)
            turn = Alignment(alignment.start[here] - source_end, alignment.count[here])
            rows = slice(source_end, source_end + m)
            merged_rows = self._rules.rows(
                p.input_ids[p_start - 1 : p_start + n - 1].tolist(),
                s.input_ids[s_start - 1 : s_start + m - 1].tolist(),
                _shifted(turn, n, m),
                s.top_ids[rows],
                s.top_logprobs[rows].astype(np.float64),
            )
            mass = np.exp(s.top_logprobs[rows].astype(np.float64))
            parts.append(_as_rows(merged_rows, turn, mass, s.token_ce[rows].astype(np.float64)))
            pivot_end, source_end = pivot_end + n, source_end + m
        return Transferred(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _shifted(turn: Alignment, n: int, m: int) -> list[list[int]]:
    """Source positions of each pivot position, one earlier than the tokens that they predict.

    The store's row r predicts response token r, so it belongs to the position of token r - 1; row
    0 to the last token of the prompt, which stands for itself on both sides (unless the source has
    no row at all).
    """
    ranges = zip(turn.start[: n - 1].tolist(), turn.count[: n - 1].tolist(), strict=True)
    later = [[i + 1 for i in range(first, first + count) if i + 1 < m] for first, count in ranges]
    return [[0][:m], *later][:n]


def _as_rows(
    merged_rows: list[tuple[Distribution, str]],
    alignment: Alignment,
    mass: np.ndarray,
    token_ce: np.ndarray,
) -> Transferred:
    """Softmax over each list, the k most probable entries."""
    n, k = len(merged_rows), mass.shape[1]
    ids, teacher = np.zeros((n, k), np.int64), np.zeros((n, k))
    mass_in = np.append(mass.sum(axis=1), 0.0)[alignment.start]
    mass_out = np.zeros(n)
    kinds = np.full(n, FALLBACK, np.int8)
    for row, (distribution, branch) in enumerate(merged_rows):
        if not distribution:  # no listed id has a partner: the row stays empty
            continue
        kinds[row] = KIND_OF_BRANCH[branch]
        tokens, logits = np.array(list(distribution)), np.array([*distribution.values()])
        best = np.argsort(-logits, kind="stable")[:k]
        weights = np.exp(logits - logits.max())
        ids[row, : len(best)] = tokens[best]
        teacher[row, : len(best)] = (weights / weights.sum())[best]
        if kinds[row] != FALLBACK:
            mass_out[row] = min(mass_in[row], np.exp(logits).sum())
    ce = alignment.spread(token_ce)
    return Transferred(ids, teacher, ce, kinds, mass_in, mass_out, alignment.begins)
