"""Alignment by dynamic time warping with the edit-distance cost of FuseLLM and FuseChat.

The cost of a pair of tokens is the Levenshtein distance of their spellings without the character
that stands for a space, times 0.1 where one spelling contains the other. Costs are computed once
for each pair of distinct spellings. Ties are decided by float64 rounding in the order of the
released code, so the order of operations below is part of the definition.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from fusionchat.models.token_table import TokenTable

CONTAINED = 0.1
DIAGONAL, PREVIOUS_SOURCE, PREVIOUS_PIVOT = 0, 1, 2


@dataclass(frozen=True)
class Warping:
    """Pivot token i belongs to source tokens `start[i]:start[i] + count[i]`; both int32 [n].

    The ranges of neighbours may share a source token. `cost` is the sum along the path.
    """

    start: np.ndarray
    count: np.ndarray
    cost: float


def align(
    pivot: TokenTable, source: TokenTable, pivot_ids: np.ndarray, source_ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Source range of each of n pivot tokens: (start, count), int32 [n] each (see `Warping`)."""
    warping = align_spellings(
        [pivot.stripped[i] for i in pivot_ids.tolist()],
        [source.stripped[i] for i in source_ids.tolist()],
    )
    return warping.start, warping.count


def align_spellings(pivot: Sequence[str], source: Sequence[str]) -> Warping:
    """Warp n pivot spellings onto m source spellings; an empty side gives counts of 0."""
    n, m = len(pivot), len(source)
    if not n or not m:
        return Warping(np.zeros(n, np.int32), np.zeros(n, np.int32), 0.0)
    pivot_kinds, pivot_index = distinct(pivot)
    source_kinds, source_index = distinct(source)
    steps, cost = accumulate(cost_table(source_kinds, pivot_kinds), source_index, pivot_index)
    start, count = trace_back(steps)
    return Warping(start, count, cost)


def cost_table(source: Sequence[str], pivot: Sequence[str]) -> np.ndarray:
    """Costs of all pairs, float64 [source, pivot]."""
    longest = max(map(len, (*source, *pivot)))
    kind = np.uint8 if longest < 256 else np.uint32
    distance = cdist(source, pivot, scorer=Levenshtein.distance, dtype=kind, workers=1)
    return _with_containment(distance, *_codes(source), *_codes(pivot))


def distinct(spellings: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The distinct spellings, and which one stands at each position (int32)."""
    kinds: dict[str, int] = {}
    index = [kinds.setdefault(spelling, len(kinds)) for spelling in spellings]
    return list(kinds), np.array(index, np.int32)


def _codes(spellings: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Code points of all spellings in one array (uint32), and where each begins (int64)."""
    text = "".join(spellings).encode("utf-32-le", "surrogatepass")
    lengths = np.fromiter(map(len, spellings), np.int64, len(spellings))
    return np.frombuffer(text, np.uint32), np.concatenate([[0], np.cumsum(lengths)])


@njit(cache=True, nogil=True)
def _with_containment(
    distance: np.ndarray,
    source: np.ndarray,
    source_begin: np.ndarray,
    pivot: np.ndarray,
    pivot_begin: np.ndarray,
) -> np.ndarray:
    """Distances as float64, times 0.1 where one spelling contains the other.

    A spelling that contains another is exactly the difference in length away from it, which
    spares most searches.
    """
    rows, columns = distance.shape
    cost = np.empty((rows, columns), np.float64)
    for r in range(rows):
        r_begin, r_length = source_begin[r], source_begin[r + 1] - source_begin[r]
        for c in range(columns):
            c_begin, c_length = pivot_begin[c], pivot_begin[c + 1] - pivot_begin[c]
            value = float(distance[r, c])
            if distance[r, c] == abs(r_length - c_length):
                long, long_begin, long_length = source, r_begin, r_length
                short, short_begin, short_length = pivot, c_begin, c_length
                if r_length < c_length:
                    long, long_begin, long_length = pivot, c_begin, c_length
                    short, short_begin, short_length = source, r_begin, r_length
                for shift in range(long_length - short_length + 1):
                    k = 0
                    while (
                        k < short_length and long[long_begin + shift + k] == short[short_begin + k]
                    ):
                        k += 1
                    if k == short_length:
                        value *= CONTAINED
                        break
            cost[r, c] = value
    return cost


@njit(cache=True, nogil=True)
def accumulate(
    costs: np.ndarray, source_index: np.ndarray, pivot_index: np.ndarray
) -> tuple[np.ndarray, float]:
    """The best step into each cell, uint8 [m, n], and the total cost.

    D[i, j] = c + min(D[i-1, j], D[i, j-1], D[i-1, j-1]), i over source, j over pivot tokens. Only
    one row of D is kept. On equal predecessors: diagonal, then i-1, then j-1.
    """
    m, n = len(source_index), len(pivot_index)
    steps = np.empty((m, n), np.uint8)
    row = np.empty(n, np.float64)
    for i in range(m):
        cost = costs[source_index[i]]
        diagonal = row[0]
        row[0] = cost[pivot_index[0]] + (row[0] if i else 0.0)
        steps[i, 0] = PREVIOUS_SOURCE
        left = row[0]
        for j in range(1, n):
            above = row[j]
            if i == 0:
                best, step = left, PREVIOUS_PIVOT
            else:
                best, step = diagonal, DIAGONAL
                if above < best:
                    best, step = above, PREVIOUS_SOURCE
                if left < best:
                    best, step = left, PREVIOUS_PIVOT
            left = cost[pivot_index[j]] + best
            steps[i, j] = step
            diagonal = above
            row[j] = left
    return steps, row[n - 1]


@njit(cache=True, nogil=True)
def trace_back(steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Follow the best steps from the end: (start, count) of each pivot token, int32 [n]."""
    m, n = steps.shape
    start, count = np.zeros(n, np.int32), np.zeros(n, np.int32)
    i, j = m - 1, n - 1
    while i >= 0 and j >= 0:
        start[j] = i
        count[j] += 1
        step = steps[i, j]
        if step != PREVIOUS_PIVOT:
            i -= 1
        if step != PREVIOUS_SOURCE:
            j -= 1
    return start, count
