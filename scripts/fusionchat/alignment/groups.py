"""Alignment of the responses of a dialogue: each turn for itself, end of turn to end of turn."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numba import njit

from fusionchat.alignment import dtw, spans, vocabulary_map
from fusionchat.alignment.response_tokens import ResponseTokens
from fusionchat.alignment.spelling import Text, same_text
from fusionchat.errors import UserError
from fusionchat.models import token_table
from fusionchat.models.token_table import TokenTable

METHODS = {"spans": spans.align, "dtw": dtw.align}
MERGE_AT = 1 << 20


@dataclass(frozen=True)
class Alignment:
    """Response token i of the pivot belongs to `start[i]:start[i] + count[i]` of the source.

    int32 [N] each; positions count the response tokens of the whole dialogue. A count of 0 means
    that the source has nothing there. `identity`: both sides have the same tokens.
    """

    start: np.ndarray
    count: np.ndarray
    identity: bool = False

    @classmethod
    def same(cls, length: int) -> "Alignment":
        """Token by token."""
        return cls(np.arange(length, dtype=np.int32), np.ones(length, np.int32), True)

    @property
    def begins(self) -> np.ndarray:
        """Bool [N]: the pivot token begins a group, sharing no source token with those before."""
        stops = np.maximum.accumulate(self.start + self.count)
        return np.concatenate([np.ones(min(1, len(stops)), bool), self.start[1:] >= stops[:-1]])

    def spread(self, token_ce: np.ndarray) -> np.ndarray:
        """Cross-entropies [M] of the source shared out evenly within groups, float64 [N]."""
        firsts = np.flatnonzero(self.begins)
        sizes = np.diff(np.append(firsts, len(self.start)))
        stops = np.maximum.accumulate(self.start + self.count)[firsts + sizes - 1]
        sums = np.concatenate([[0.0], np.cumsum(token_ce, dtype=np.float64)])
        total = np.where(stops > self.start[firsts], sums[stops] - sums[self.start[firsts]], np.nan)
        return np.repeat(total / sizes, sizes)


class Aligner:
    """Aligns dialogues of one pivot and one source by one method.

    Equal tokenizers skip the method wherever the ids are the same, special tokens by role.
    """

    def __init__(self, pivot: TokenTable, source: TokenTable, method: str):
        for table in (pivot, source):
            if "eos" not in table.roles:
                raise UserError(
                    f"{table.name}: the tokenizer names no eos_token to end a turn; set it in "
                    "tokenizer_config.json"
                )
        self.pivot, self.source = pivot, source
        self.equal = token_table.equal(pivot, source)
        self._align = METHODS[method]
        self._same_ids = vocabulary_map.identity(source, pivot) if self.equal else None

    def align(self, pivot: ResponseTokens, source: ResponseTokens) -> Alignment:
        """Align all response tokens of one dialogue."""
        pivot_ids, source_ids = pivot.ids, source.ids
        if self._same_ids is not None and np.array_equal(self._same_ids[source_ids], pivot_ids):
            return Alignment.same(len(pivot_ids))
        starts, counts, first = [], [], 0
        for p_ids, s_ids in zip(
            _turns(pivot_ids, pivot.lengths), _turns(source_ids, source.lengths), strict=True
        ):
            start, count = self.align_turn(p_ids, s_ids)
            starts.append(start + np.int32(first))
            counts.append(count)
            first += len(s_ids)
        return Alignment(_joined(starts), _joined(counts))

    def align_turn(
        self, pivot_ids: np.ndarray, source_ids: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Align one response: its text by the method, its end-of-turn tokens with each other."""
        pivot_text, pivot_ended = _without_end(pivot_ids, self.pivot)
        source_text, source_ended = _without_end(source_ids, self.source)
        covered = len(pivot_text)
        if pivot_ended != source_ended:
            covered, source_text = self._cut_to_shorter(pivot_text, source_text, pivot_ended)
        start = np.full(len(pivot_ids), len(source_text), np.int32)
        count = np.zeros(len(pivot_ids), np.int32)
        start[:covered], count[:covered] = self._align(
            self.pivot, self.source, pivot_text[:covered], source_text
        )
        if pivot_ended and source_ended:
            start[-1], count[-1] = len(source_ids) - 1, 1
        return start, count

    def _cut_to_shorter(
        self, pivot_ids: np.ndarray, source_ids: np.ndarray, pivot_ended: bool
    ) -> tuple[int, np.ndarray]:
        """Where only one side was cut at the maximum length: the tokens inside the shorter text."""
        pivot_ends = spans.token_ends(pivot_ids, self.pivot.offsets)
        source_ends = spans.token_ends(source_ids, self.source.offsets)
        if pivot_ended:
            limit = source_ends[-1] if len(source_ends) else 0
            return int(np.searchsorted(pivot_ends, limit, side="right")), source_ids
        limit = pivot_ends[-1] if len(pivot_ends) else 0
        return len(pivot_ids), source_ids[: np.searchsorted(source_ends, limit, side="right")]


def _turns(ids: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    stops = np.cumsum(lengths).tolist()
    return [ids[a:b] for a, b in zip([0, *stops[:-1]], stops, strict=True)]


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(0, np.int32)


def _without_end(ids: np.ndarray, table: TokenTable) -> tuple[np.ndarray, bool]:
    """The ids without the end-of-turn token, and whether it was there."""
    ended = len(ids) > 0 and ids[-1] == table.roles.get("eos", token_table.NO_TOKEN)
    return (ids[:-1], True) if ended else (ids, False)


@dataclass
class PairCounts:
    """How often each pair of a pivot and a source token was aligned, by two counts.

    `count`: for every pivot token each distinct source id of its range counts once, as in the
    released code. `groups`: every aligned group whose sides spell the same text counts once, for
    the tokens that begin it: they begin at the same place, so one can stand for the other. Sums of
    shards are sums of these tables, whatever the sharding.
    """

    pivot: TokenTable
    source: TokenTable
    _keys: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    _counts: np.ndarray = field(default_factory=lambda: np.empty((0, 2), np.int64))
    _waiting: tuple[list[np.ndarray], list[np.ndarray]] = field(default_factory=lambda: ([], []))
    _waiting_size: int = 0

    def add(self, pivot_ids: np.ndarray, source_ids: np.ndarray, alignment: Alignment) -> None:
        """Count the pairs of one dialogue."""
        size = np.int64(self.source.size)
        ids = pivot_ids, source_ids, alignment.start, alignment.count
        pivot, source, start, count = (array.astype(np.int64) for array in ids)
        firsts = np.flatnonzero(same_text(*self._texts, pivot, source, start, count))
        keys = pair_keys(*ids, size), pivot[firsts] * size + source[start[firsts]]
        for waiting, new in zip(self._waiting, keys, strict=True):
            waiting.append(new)
        self._waiting_size += len(keys[0])
        if self._waiting_size >= MERGE_AT:
            self._merge()

    def table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(pivot ids, source ids, counts, groups), int64 each, sorted by pivot and source id."""
        self._merge()
        return self._keys // self.source.size, self._keys % self.source.size, *self._counts.T

    @cached_property
    def _texts(self) -> tuple[Text, Text]:
        return Text.of(self.pivot), Text.of(self.source)

    def _merge(self) -> None:
        keys, counts = [self._keys], [self._counts]
        for column, waiting in enumerate(self._waiting):
            new, count = np.unique(np.concatenate([self._keys[:0], *waiting]), return_counts=True)
            keys.append(new)
            counts.append(count[:, None] * np.eye(2, dtype=np.int64)[column])
            waiting.clear()
        self._waiting_size = 0
        self._keys, self._counts = sum_by_key(np.concatenate(keys), np.concatenate(counts))


def sum_by_key(keys: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct keys in order, and the sum of the counts (or rows of counts) of each."""
    if not len(keys):
        return keys, counts
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[begins], np.add.reduceat(counts, begins)


@njit(cache=True, nogil=True)
def pair_keys(
    pivot_ids: np.ndarray,
    source_ids: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    source_size: int,
) -> np.ndarray:
    """Pivot id x source_size + source id of each pair that counts, int64."""
    keys = np.empty(max(1, count.sum()), np.int64)
    filled = 0
    for i in range(len(pivot_ids)):
        begin = filled
        for j in range(start[i], start[i] + count[i]):
            key = np.int64(pivot_ids[i]) * source_size + source_ids[j]
            known = False
            for k in range(begin, filled):
                known = known or keys[k] == key
            if not known:
                keys[filled] = key
                filled += 1
    return keys[:filled]


def check_same_text(
    pivot: TokenTable, source: TokenTable, p: ResponseTokens, s: ResponseTokens
) -> None:
    """Stop when two token sequences clearly do not spell the same responses."""
    from rapidfuzz.distance import Indel

    texts = pivot.text(p.ids), source.text(s.ids)
    if min(map(len, texts)) > 50 and Indel.normalized_similarity(*texts) < 0.3:
        raise UserError(
            f"dialogue {p.dialogue_id}: the responses of pivot and source are different texts "
            f"({texts[0][:30]!r}, {texts[1][:30]!r}); the files do not belong to these tokenizers "
            f"({pivot.name}, {source.name})"
        )


def changed_share(
    pivot: TokenTable, source: TokenTable, pivot_ids: np.ndarray, source_ids: np.ndarray
) -> float:
    """How much of a text another tokenizer's normaliser changed, or has no token for: the share of
    its characters that the two sides do not have in common.

    Where one side ends earlier, the longer one's rest does not count.
    """
    from rapidfuzz.distance import LCSseq

    texts = [
        b"".join(map(table.token_bytes.__getitem__, ids[kept].tolist()))
        for table, ids in ((pivot, pivot_ids), (source, source_ids))
        for kept in [~table.special[ids] | (ids == table.roles.get("unk", token_table.NO_TOKEN))]
    ]
    first, second = (text.decode("utf-8", "surrogateescape").strip() for text in texts)
    if first == second or not first or not second:
        return 0.0
    return 1.0 - LCSseq.similarity(first, second) / min(len(first), len(second))
