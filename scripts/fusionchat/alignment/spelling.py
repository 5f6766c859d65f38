"""Which aligned groups spell the same text on both sides."""

from typing import NamedTuple

import numpy as np
from numba import njit

from fusionchat.models.token_table import TokenTable


class Text(NamedTuple):
    """The text of each token of a vocabulary: token i is `flat[offsets[i]:offsets[i + 1]]`.

    uint8 and int64 [V + 1]; special tokens have none.
    """

    flat: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, table: TokenTable) -> "Text":
        """The bytes of a tokenizer's tokens, without those of special tokens."""
        data = [b"" if s else b for b, s in zip(table.token_bytes, table.special, strict=True)]
        flat = np.frombuffer(b"".join(data) or b"\0", np.uint8)
        return cls(flat, np.concatenate([[0], np.cumsum([len(b) for b in data], dtype=np.int64)]))


def same_text(
    pivot: Text,
    source: Text,
    pivot_ids: np.ndarray,
    source_ids: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
) -> np.ndarray:
    """Bool [N]: a group begins at this token of the pivot, and its two sides spell the same bytes.

    All ids int64 [N] and [M], `start` and `count` int64 as in `Alignment`. A token without text
    spells nothing that is the same.
    """
    same = np.zeros(len(pivot_ids), np.bool_)
    _compare(pivot, source, pivot_ids, source_ids, start, count, same)
    return same


# Without counting who uses the arrays: see `transfer.kernel`.
@njit(cache=True, nogil=True, _nrt=False)
def _compare(
    pivot: Text,
    source: Text,
    pivot_ids: np.ndarray,
    source_ids: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    same: np.ndarray,
) -> None:
    first = 0
    while first < len(pivot_ids):
        begin, stop, last = start[first], start[first] + count[first], first + 1
        while last < len(pivot_ids) and start[last] < stop:
            stop = max(stop, start[last] + count[last])
            last += 1
        same[first] = _same(pivot, source, pivot_ids[first:last], source_ids[begin:stop])
        first = last


@njit(cache=True, nogil=True, _nrt=False)
def _same(pivot: Text, source: Text, pivot_ids: np.ndarray, source_ids: np.ndarray) -> bool:
    j, s, s_end = -1, 0, 0
    for token in pivot_ids:
        p, p_end = pivot.offsets[token], pivot.offsets[token + 1]
        if p == p_end:
            return False
        while p < p_end:
            if s == s_end:
                j += 1
                if j == len(source_ids):
                    return False
                s, s_end = source.offsets[source_ids[j]], source.offsets[source_ids[j] + 1]
                if s == s_end:
                    return False
            if pivot.flat[p] != source.flat[s]:
                return False
            p, s = p + 1, s + 1
    return s == s_end and j == len(source_ids) - 1
