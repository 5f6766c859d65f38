"""The compiled part of `fusionchat.alignment.transfer`; the rules are described there.

State while walking through a group: the next pivot token begins `u` bytes inside source token `c`.
The ids listed at row `c` that agree with those u bytes are alive, their sum is `total` (1 where
u = 0), and the next row is their distribution divided by `total`.

Small functions are inlined: a call costs more than their work. All integers come as int64 (a plain
0 has a type of its own) and all arrays writable: every further type would be compiled again.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from fusionchat.alignment.tokenizer import NO_TOKEN

KINDS = ("one_to_one", "many_to_one", "one_to_many", "many_to_many", "fallback")
ONE_TO_ONE, MANY_TO_ONE, ONE_TO_MANY, MANY_TO_MANY, FALLBACK = range(5)
DEAD, ALIVE, ENDED = 0, 1, 2  # a listed id: other text; same text so far; the same, and it is over
SMALLEST = 1e-30


class Tables(NamedTuple):
    """What does not depend on a dialogue; see `TokenTable` and `MassTransfer`."""

    pivot_flat: np.ndarray
    pivot_offsets: np.ndarray
    source_flat: np.ndarray
    source_offsets: np.ndarray
    mapped: np.ndarray
    exact: np.ndarray
    next_token: np.ndarray


class Distributions(NamedTuple):
    """The source's side: M response ids, listed ids and probabilities [M, k], CE [M]."""

    token: np.ndarray
    ids: np.ndarray
    mass: np.ndarray
    ce: np.ndarray


class Transferred(NamedTuple):
    """Distributions at the N response tokens of the pivot.

    `ids` int64 [N, k]; `mass` float64 [N, k], probabilities, best first, 0 in unused slots;
    `token_ce` float64 [N], nats, NaN where the source has nothing; `kinds` int8 [N], index into
    KINDS (source tokens to pivot tokens); `mass_in`, `mass_out` float64 [N]: listed probability
    before and after; `begins` bool [N]: the row begins an aligned group.
    """

    ids: np.ndarray
    mass: np.ndarray
    token_ce: np.ndarray
    kinds: np.ndarray
    mass_in: np.ndarray
    mass_out: np.ndarray
    begins: np.ndarray

    @property
    def logprobs(self) -> np.ndarray:
        """Natural logarithms of `mass`, -inf in unused slots."""
        with np.errstate(divide="ignore"):
            return np.log(self.mass)


class Slots(NamedTuple):
    """A row in the making: pivot ids and their mass, `used[0]` of them."""

    ids: np.ndarray
    mass: np.ndarray
    used: np.ndarray


@njit(cache=True, nogil=True)
def transfer_groups(
    tables: Tables, rows: Distributions, pivot_ids: np.ndarray, start: np.ndarray, count: np.ndarray
) -> Transferred:
    """Transfer one dialogue, group by group; `start`, `count` as in `Alignment`."""
    n_rows, k = len(pivot_ids), rows.ids.shape[1]
    out = Transferred(
        np.zeros((n_rows, k), np.int64),
        np.zeros((n_rows, k)),
        np.full(n_rows, np.nan),
        np.full(n_rows, FALLBACK, np.int8),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows, np.bool_),
    )
    slots = Slots(np.empty(k + 1, np.int64), np.empty(k + 1), np.zeros(1, np.int64))
    alive = np.empty(k, np.int8)
    first = np.int64(0)
    while first < n_rows:
        begin, stop, last = start[first], start[first] + count[first], first + 1
        while last < n_rows and start[last] < stop:  # ranges that overlap belong together
            stop = max(stop, start[last] + count[last])
            last += 1
        out.begins[first] = True
        single = last - first == 1 and stop - begin == 1
        if single and tables.mapped[rows.token[begin]] == pivot_ids[first]:
            _one_to_one(tables, rows, pivot_ids, first, begin, slots, out)
        elif not _spells_same(tables, rows, pivot_ids, first, last, begin, stop):
            _fallback(rows, first, last, begin, stop, out)
        elif single:
            _one_to_one(tables, rows, pivot_ids, first, begin, slots, out)
        else:
            _spelled(tables, rows, pivot_ids, first, last, begin, stop, slots, alive, out)
        first = last
    return out


@njit(cache=True, nogil=True)
def _one_to_one(tables, rows, pivot_ids, row, c, slots, out):
    """Every listed id goes to its partner."""
    slots.used[0] = 0
    for entry in range(rows.ids.shape[1]):
        other, mass = rows.ids[c, entry], rows.mass[c, entry]
        out.mass_in[row] += mass
        here = other == rows.token[c]
        _add(slots, pivot_ids[row] if here else _partner(tables, other), mass)
    _keep(slots, pivot_ids[row], row, out)
    out.token_ce[row] = rows.ce[c]
    out.kinds[row] = ONE_TO_ONE


@njit(cache=True, nogil=True)
def _fallback(rows, first, last, begin, stop, out):
    """Empty rows; the group's cross-entropy is spread evenly, NaN if there is none."""
    for row in range(first, last):
        if stop > begin:
            out.token_ce[row] = rows.ce[begin:stop].sum() / (last - first)
            out.mass_in[row] = rows.mass[begin].sum()


@njit(cache=True, nogil=True)
def _spelled(tables, rows, pivot_ids, first, last, begin, stop, slots, alive, out):
    """A group of the same bytes that is not one token on both sides."""
    kind = MANY_TO_MANY
    if last - first == 1:
        kind = MANY_TO_ONE
    elif stop - begin == 1:
        kind = ONE_TO_MANY
    c, u, total = begin, np.int64(0), 1.0
    alive[:] = ALIVE
    for row in range(first, last):
        gold = pivot_ids[row]
        length = tables.pivot_offsets[gold + 1] - tables.pivot_offsets[gold]
        inside = u + length < _length(tables, rows.token[c])
        mass = _spread(tables, rows, gold, length, c, u, total, inside, slots, alive, row, out)
        if inside:
            probability, u, total = mass / total, u + length, mass
        else:
            probability = mass / total
            left = length - (_length(tables, rows.token[c]) - u)
            c, u, total = c + 1, np.int64(0), 1.0
            while c < stop and _length(tables, rows.token[c]) <= left:
                left -= _length(tables, rows.token[c])
                probability *= _of_token(rows, c)
                c += 1
            alive[:] = ALIVE
            if left:
                u, total = left, _enter(tables, rows, c, left, alive)
                probability *= total
        _add(slots, gold, probability)
        _keep(slots, gold, row, out)
        out.token_ce[row] = -np.log(max(probability, SMALLEST))
        out.kinds[row] = kind


@njit(cache=True, nogil=True)
def _spread(tables, rows, gold, length, c, u, total, inside, slots, alive, row, out):
    """Put the listed ids other than the token that stands there into slots.

    Returns the mass of what goes on with the pivot token `gold`: of the token that stands there
    and, where `gold` ends inside it, of all ids that agree with it; those stay alive. Ids that
    agree are in the returned mass, not in the slots.
    """
    slots.used[0] = 0
    token = rows.token[c]
    mass = _of_token(rows, c)
    for entry in range(rows.ids.shape[1]):
        other, probability = rows.ids[c, entry], rows.mass[c, entry]
        if alive[entry] == DEAD or probability == 0.0:
            continue
        out.mass_in[row] += probability / total
        if other == token:
            continue
        target, spelled = NO_TOKEN, False
        if u == 0:
            target = _partner(tables, other)
            spelled = target != NO_TOKEN and tables.exact[other]
        elif alive[entry] == ALIVE:
            target = tables.next_token[tables.source_offsets[other] + u]
            spelled = (
                target != NO_TOKEN
                and tables.pivot_offsets[target + 1] - tables.pivot_offsets[target]
                == _length(tables, other) - u
            )
        if inside:
            agrees = _agrees(tables, other, token, u + length)
            if agrees != DEAD and (target == gold or not spelled) and alive[entry] == ALIVE:
                mass += probability
                alive[entry] = agrees
                continue
            alive[entry] = DEAD
        _add(slots, target, probability / total)
    return mass


@njit(cache=True, nogil=True)
def _enter(tables, rows, c, u, alive):
    """Mass of the ids at row c that agree with the first u bytes of the token there."""
    mass = _of_token(rows, c)
    for entry in range(rows.ids.shape[1]):
        if rows.ids[c, entry] != rows.token[c]:
            alive[entry] = _agrees(tables, rows.ids[c, entry], rows.token[c], u)
            if alive[entry] != DEAD:
                mass += rows.mass[c, entry]
    return mass


@njit(cache=True, nogil=True)
def _of_token(rows, c):
    """Probability of the token that stands at c, never 0: listed, or from its cross-entropy."""
    for entry in range(rows.ids.shape[1]):
        if rows.ids[c, entry] == rows.token[c] and rows.mass[c, entry] > 0.0:
            return rows.mass[c, entry]
    return max(np.exp(-rows.ce[c]), SMALLEST)


@njit(cache=True, nogil=True, inline="always")
def _agrees(tables, other, token, length):
    """Whether `other` begins with the first `length` bytes of `token`: DEAD, ALIVE or ENDED."""
    if other >= len(tables.mapped) or _length(tables, other) < length:
        return DEAD
    a, b = tables.source_offsets[other], tables.source_offsets[token]
    for i in range(length):
        if tables.source_flat[a + i] != tables.source_flat[b + i]:
            return DEAD
    return ENDED if _length(tables, other) == length else ALIVE


@njit(cache=True, nogil=True)
def _spells_same(tables, rows, pivot_ids, first, last, begin, stop):
    """Whether a group's two sides spell the same bytes, each token at least one."""
    j, s, s_end = begin - 1, 0, 0
    for i in range(first, last):
        p, p_end = tables.pivot_offsets[pivot_ids[i]], tables.pivot_offsets[pivot_ids[i] + 1]
        if p == p_end:
            return False
        while p < p_end:
            if s == s_end:
                j += 1
                if j == stop:
                    return False
                s = tables.source_offsets[rows.token[j]]
                s_end = tables.source_offsets[rows.token[j] + 1]
                if s == s_end:
                    return False
            if tables.pivot_flat[p] != tables.source_flat[s]:
                return False
            p, s = p + 1, s + 1
    return s == s_end and j == stop - 1


@njit(cache=True, nogil=True, inline="always")
def _length(tables, token):
    return tables.source_offsets[token + 1] - tables.source_offsets[token]


@njit(cache=True, nogil=True, inline="always")
def _partner(tables, token):
    """A model may list ids beyond the tokenizer's; they have no partner."""
    return tables.mapped[token] if token < len(tables.mapped) else NO_TOKEN


@njit(cache=True, nogil=True, inline="always")
def _add(slots, target, mass):
    """Add mass to a pivot id's slot."""
    if target == NO_TOKEN or mass <= 0.0:
        return
    used = slots.used[0]
    for slot in range(used):
        if slots.ids[slot] == target:
            slots.mass[slot] += mass
            return
    slots.ids[used], slots.mass[used] = target, mass
    slots.used[0] = used + 1


@njit(cache=True, nogil=True)
def _keep(slots, gold, row, out):
    """Write the k most probable slots, best first; the token that stands there is never cut."""
    used, k = slots.used[0], out.ids.shape[1]
    for slot in range(1, used):  # insertion sort: few entries, nearly in order, ties stay
        token, mass, at = slots.ids[slot], slots.mass[slot], slot
        while at > 0 and slots.mass[at - 1] < mass:
            slots.ids[at], slots.mass[at] = slots.ids[at - 1], slots.mass[at - 1]
            at -= 1
        slots.ids[at], slots.mass[at] = token, mass
    if used > k and slots.ids[k] == gold:
        slots.ids[k - 1], slots.mass[k - 1] = slots.ids[k], slots.mass[k]
    for slot in range(min(used, k)):
        out.ids[row, slot] = slots.ids[slot]
        out.mass[row, slot] = slots.mass[slot]
        out.mass_out[row] += slots.mass[slot]
