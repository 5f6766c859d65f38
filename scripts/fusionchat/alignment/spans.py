"""Alignment by byte spans: tokens that cover the same bytes of the same text belong together.

A cut is a place where a token of both sequences ends. Between two cuts lies a group: the smallest
stretch of pivot tokens and source tokens that spell the same bytes. Where the two texts differ
(normalisers, unknown characters), the parts that agree still give cuts.
"""

import numpy as np
from numba import njit
from rapidfuzz.distance import Levenshtein

from fusionchat.models.token_table import TokenTable


def align(
    pivot: TokenTable, source: TokenTable, pivot_ids: np.ndarray, source_ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Source range of each of n pivot tokens of one text: (start, count), int32 [n] each.

    Pivot token i belongs to source tokens `start[i]:start[i] + count[i]`. Tokens of one group have
    the same range, groups follow each other without gap, and every group has at least one token on
    both sides. Where the source has no token at all, the counts are 0.
    """
    start = np.zeros(len(pivot_ids), np.int32)
    count = np.zeros(len(pivot_ids), np.int32)
    if len(pivot_ids) and len(source_ids):
        pivot_ends = token_ends(pivot_ids, pivot.offsets)
        source_ends = token_ends(source_ids, source.offsets)
        tables = (pivot.flat, pivot.offsets, source.flat, source.offsets)
        if not same_bytes(pivot_ids, source_ids, *tables):
            pivot_ends, source_ends = _common_axis(
                b"".join(pivot.token_bytes[i] for i in pivot_ids),
                b"".join(source.token_bytes[i] for i in source_ids),
                pivot_ends,
                source_ends,
            )
        merge_ends(pivot_ends, source_ends, start, count)
    return start, count


@njit(cache=True, nogil=True)
def token_ends(ids: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Byte position where each token ends in the text of the sequence, int64 [n]."""
    ends = np.empty(len(ids), np.int64)
    position = 0
    for i in range(len(ids)):
        position += offsets[ids[i] + 1] - offsets[ids[i]]
        ends[i] = position
    return ends


@njit(cache=True, nogil=True)
def same_bytes(
    first: np.ndarray,
    second: np.ndarray,
    first_flat: np.ndarray,
    first_offsets: np.ndarray,
    second_flat: np.ndarray,
    second_offsets: np.ndarray,
) -> bool:
    """Whether two sequences of ids spell the same bytes; one pass, nothing is copied."""
    j, s, s_end = -1, 0, 0
    for i in range(len(first)):
        for p in range(first_offsets[first[i]], first_offsets[first[i] + 1]):
            while s == s_end:
                j += 1
                if j == len(second):
                    return False
                s, s_end = second_offsets[second[j]], second_offsets[second[j] + 1]
            if first_flat[p] != second_flat[s]:
                return False
            s += 1
    for k in range(j + 1, len(second)):
        if second_offsets[second[k]] != second_offsets[second[k] + 1]:
            return False
    return s == s_end


@njit(cache=True, nogil=True)
def merge_ends(
    pivot_ends: np.ndarray, source_ends: np.ndarray, start: np.ndarray, count: np.ndarray
) -> None:
    """Cut two sequences of token ends on one axis wherever they agree; fill `start`, `count`.

    Both must have at least one token and the same last end.
    """
    n, m = len(pivot_ends), len(source_ends)
    i = j = first_i = first_j = 0
    while first_i < n:
        if pivot_ends[i] < source_ends[j]:
            i += 1
        elif pivot_ends[i] > source_ends[j]:
            j += 1
        else:
            if pivot_ends[i] == pivot_ends[n - 1]:  # tokens without bytes may follow the end
                i, j = n - 1, m - 1
            for k in range(first_i, i + 1):
                start[k] = first_j
                count[k] = j + 1 - first_j
            i, j = i + 1, j + 1
            first_i, first_j = i, j


def _common_axis(
    pivot_text: bytes, source_text: bytes, pivot_ends: np.ndarray, source_ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Put the token ends of two unequal texts on one axis, where equal parts coincide."""
    axis = {"pivot": np.zeros(len(pivot_text) + 1, np.int64)}
    axis["source"] = np.zeros(len(source_text) + 1, np.int64)
    ends = {"pivot": set(pivot_ends.tolist()), "source": set(source_ends.tolist())}
    x = y = position = 0
    for pivot_bytes, source_bytes, matched in _compare(pivot_text, source_text):
        length = pivot_bytes if matched else pivot_bytes + source_bytes
        shift = 0 if matched else pivot_bytes
        axis["pivot"][x + 1 : x + pivot_bytes + 1] = position + np.arange(1, pivot_bytes + 1)
        axis["source"][y + 1 : y + source_bytes + 1] = (
            position + shift + np.arange(1, source_bytes + 1)
        )
        # Text that only one side has joins what follows, unless only its own end is a token's end.
        if pivot_bytes or (y not in ends["source"] and y + source_bytes in ends["source"]):
            axis["pivot"][x + pivot_bytes] = position + length
        if source_bytes or (x not in ends["pivot"] and x + pivot_bytes in ends["pivot"]):
            axis["source"][y + source_bytes] = position + length
        x, y, position = x + pivot_bytes, y + source_bytes, position + length
    axis["pivot"][-1] = axis["source"][-1] = position
    return axis["pivot"][pivot_ends], axis["source"][source_ends]


def _compare(first: bytes, second: bytes) -> list[tuple[int, int, bool]]:
    """Split two texts into parts: (bytes of the first, bytes of the second, whether equal).

    Characters are compared, not bytes, so that no part ends inside a character that differs. As
    many characters in place of as many others are taken one by one (another case or width).
    """
    a = first.decode("utf-8", "surrogateescape")
    b = second.decode("utf-8", "surrogateescape")
    parts: list[tuple[int, int, bool]] = []
    a_done = b_done = 0
    for step in Levenshtein.opcodes(a, b):
        if step.tag == "equal":
            parts.extend(_changed(a[a_done : step.src_start], b[b_done : step.dest_start]))
            size = _size(a[step.src_start : step.src_end])
            parts.append((size, size, True))
            a_done, b_done = step.src_end, step.dest_end
    return parts + _changed(a[a_done:], b[b_done:])


def _changed(old: str, new: str) -> list[tuple[int, int, bool]]:
    if len(old) == len(new):
        return [(_size(x), _size(y), False) for x, y in zip(old, new, strict=True)]
    return [(_size(old), _size(new), False)]


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))
