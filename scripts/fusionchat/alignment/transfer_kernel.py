"""The compiled part of `fusionchat.alignment.transfer`; the rules are described there.

State while walking through a group: the next pivot token begins `u` bytes inside source token `c`.
What the source may still write there has mass `total` (1 where a group begins): the token that
stands at c, the listed ids that agree with it so far (they are alive), and the share of the mass
that is not listed which agrees by the prior. The next row is divided by `total`.

Small functions are inlined: a call costs more than their work. All integers come as int64 (a plain
0 has a type of its own) and all arrays writable: every further type would be compiled again.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# (numba infers the types of what is compiled; `Tables`, `Distributions` and `Slots` say them)

from typing import NamedTuple

import numpy as np
from numba import njit

from fusionchat.models.token_table import NO_TOKEN

KINDS = ("one_to_one", "many_to_one", "one_to_many", "many_to_many", "fallback")
ONE_TO_ONE, MANY_TO_ONE, ONE_TO_MANY, MANY_TO_MANY, FALLBACK = range(5)
DEAD, ALIVE, ENDED = 0, 1, 2  # a listed id: other text; same text so far; the same, and it is over
SMALLEST = 1e-30
ALIKE = 3.0  # where the text goes on so, others that begin as it does are likelier than usual
# Keys of prefixes: where they begin, and how values are mixed in.
EMPTY = np.int64(0x2545F4914F6CDD1D)
MULTIPLIER, SHIFT = np.int64(0x369DEA0F31A53F85), np.int64(32)


class Tables(NamedTuple):
    """What does not depend on a dialogue; see `TokenTable`, `MassTransfer` and `prior`.

    `pivot_order`: the pivot's text ids sorted by bytes.
    """

    pivot_flat: np.ndarray
    pivot_offsets: np.ndarray
    pivot_order: np.ndarray
    source_flat: np.ndarray
    source_offsets: np.ndarray
    mapped: np.ndarray
    next_token: np.ndarray
    prior: np.ndarray
    piece_keys: np.ndarray
    piece_shares: np.ndarray
    byte_shares: np.ndarray


class Distributions(NamedTuple):
    """The source's side: M response ids, listed ids and probabilities [M, k], CE [M].

    `cut_mass`, `byte_mass`: probability of all that begins as the token does, by prefixes of the
    pivot's tokens and of bytes, those of token c from `cut_at[c]`, `byte_at[c]` on; or empty.
    """

    token: np.ndarray
    ids: np.ndarray
    mass: np.ndarray
    ce: np.ndarray
    cut_mass: np.ndarray
    cut_at: np.ndarray
    byte_mass: np.ndarray
    byte_at: np.ndarray


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
    size = k * max(1, count.max()) + 1 if n_rows else 1
    slots = Slots(np.empty(size, np.int64), np.empty(size), np.zeros(1, np.int64))
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
    if len(rows.cut_mass) and tables.mapped[rows.token[c]] == pivot_ids[row]:
        _complete(rows, pivot_ids[row], c, slots)
    _keep(slots, pivot_ids[row], row, out)
    out.token_ce[row] = rows.ce[c]
    out.kinds[row] = ONE_TO_ONE


@njit(cache=True, nogil=True)
def _complete(rows, gold, c, slots):
    """Add what is not listed and whose cut begins with the one token that the token at c is cut to.

    Special tokens have no cut.
    """
    if rows.cut_at[c + 1] - rows.cut_at[c] == 1:
        known = 0.0
        for slot in range(slots.used[0]):
            if slots.ids[slot] == gold:
                known = slots.mass[slot]
        _add(slots, gold, rows.cut_mass[rows.cut_at[c]] - known)


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
    c, u, total, pieces = begin, np.int64(0), 1.0, EMPTY
    usual, unseen, ahead = True, 1.0, 1.0  # ahead: see _crossing
    alive[:] = ALIVE
    for row in range(first, last):
        gold = pivot_ids[row]
        length = _pivot_length(tables, gold)
        inside = u + length < _length(tables, rows.token[c])
        mass, seen = _spread(
            tables, rows, gold, length, c, u, total, inside, slots, alive, row, out
        )
        stands = _of_token(rows, c) * ahead
        usual = usual and _next_token(tables, rows.token[c], u) == gold
        shown = not inside or c + 1 == stop or _next_token(tables, rows.token[c], u) == gold
        pieces = _hashed(pieces, gold)
        if c == begin:
            if usual and len(rows.cut_mass):
                whole = rows.cut_mass[rows.cut_at[c] + row - first]
                unseen = min(unseen, max(0.0, whole - mass - _of_token(rows, c)))
            else:
                seen += tables.prior[rows.token[c]] if usual else 0.0
                unseen = min(unseen, _unlisted(tables, rows, c, _share(tables, pieces), seen))
            mass += unseen
        elif inside:
            unseen = min(unseen, _unlisted_bytes(tables, rows, c, u + length))
            mass += unseen
        if inside:
            if not shown and ahead == 1.0:  # only what follows shows that the pivot cuts here
                left = _length(tables, rows.token[c]) - u - length
                ahead = _crossing(tables, rows, pivot_ids, row, c, left)
                rest = stands * (1.0 - ahead) / total
                _add(slots, _next_token(tables, rows.token[c], u), rest)
                stands *= ahead
            probability, u, total = (stands + mass) / total, u + length, stands + mass
            claimed = probability
        else:
            probability, claimed = _of_token(rows, c) / total, mass / total
            done = _length(tables, rows.token[c]) - u
            closed = _next_token(tables, rows.token[c], u)
            c, u, total = c + 1, np.int64(0), 1.0
            while done < length:
                left = length - done
                ends = _length(tables, rows.token[c]) <= left
                weight = probability if ahead == 1.0 else 0.0
                going_on = _branch(tables, rows, gold, c, done, weight, closed, slots, alive)
                stands = _of_token(rows, c)
                if ends:
                    claimed += weight * going_on
                    probability *= stands
                    done += _length(tables, rows.token[c])
                    c += 1
                else:
                    unseen = _unlisted_bytes(tables, rows, c, left)
                    u, total = left, ahead if ahead < 1.0 else stands + going_on + unseen
                    probability *= total
                    done = length
                ahead = 1.0
            claimed += probability
            if not u:
                alive[:] = ALIVE
        _add(slots, gold, claimed)
        _keep(slots, gold, row, out)
        out.token_ce[row] = -np.log(max(probability, SMALLEST))
        out.kinds[row] = kind


@njit(cache=True, nogil=True)
def _crossing(tables, rows, pivot_ids, row, c, left):
    """The mass at c + 1 that makes the pivot cut the token at c as it does in the text.

    It is what begins as the pivot token that crosses the end of c does; `left`: bytes of c behind
    the pivot token `row`.
    """
    while left > 0:
        row += 1
        left -= _pivot_length(tables, pivot_ids[row])
    token, mass = rows.token[c + 1], _of_token(rows, c + 1)
    if -left >= _length(tables, token):
        return mass
    for entry in range(rows.ids.shape[1]):
        other = rows.ids[c + 1, entry]
        if other != token and _agrees(tables, other, token, -left) != DEAD:
            mass += rows.mass[c + 1, entry]
    return min(1.0, mass + _unlisted_bytes(tables, rows, c + 1, -left))


@njit(cache=True, nogil=True)
def _spread(tables, rows, gold, length, c, u, total, inside, slots, alive, row, out):
    """Put the listed ids that do not go on with the pivot token `gold` into slots.

    Returns the mass of those that do, without the token that stands at c, and their prior. They
    stay alive where `gold` ends inside the token that stands there.
    """
    slots.used[0] = 0
    token, agreeing, prior = rows.token[c], 0.0, 0.0
    for entry in range(rows.ids.shape[1]):
        other, probability = rows.ids[c, entry], rows.mass[c, entry]
        if alive[entry] == DEAD or probability == 0.0:
            continue
        out.mass_in[row] += probability / total
        if other == token:
            continue
        target, cut = NO_TOKEN, NO_TOKEN
        if alive[entry] == ALIVE and other < len(tables.mapped) and _length(tables, other):
            cut = _next_token(tables, other, u)
            target = _partner(tables, other) if u == 0 else cut
        if target == gold or (target == NO_TOKEN and cut == gold):
            agreeing += probability
            prior += tables.prior[other]
            alive[entry] = _agrees(tables, other, token, u + length) if inside else DEAD
        else:
            alive[entry] = DEAD
            _add(slots, target, probability / total)
    return agreeing, prior


@njit(cache=True, nogil=True)
def _branch(tables, rows, gold, c, done, weight, closed, slots, alive):
    """The listed ids at c in place of the token there, behind the first `done` bytes of `gold`.

    Each goes to the longest pivot token that begins with these bytes and goes on as the id does,
    or to `closed` where none goes on. Returns the mass of those that go to `gold`; they are alive.
    """
    agreeing = 0.0
    low, high = np.int64(0), np.int64(len(tables.pivot_order))
    offset = tables.pivot_offsets[gold]
    for depth in range(done):
        low, high = _narrowed(tables, low, high, depth, tables.pivot_flat[offset + depth])
    for entry in range(rows.ids.shape[1]):
        other, probability = rows.ids[c, entry], rows.mass[c, entry]
        alive[entry] = DEAD
        if other == rows.token[c] or probability == 0.0 or other >= len(tables.mapped):
            continue
        target = _longest(tables, low, high, done, other)
        if target == gold:
            agreeing += probability
            ended = done + _length(tables, other) == _pivot_length(tables, gold)
            alive[entry] = ENDED if ended else ALIVE
        else:
            _add(slots, closed if target == NO_TOKEN else target, weight * probability)
    return agreeing


@njit(cache=True, nogil=True)
def _longest(tables, low, high, depth, other):
    """The longest of the pivot tokens low:high that goes on, after `depth` bytes, as `other`."""
    longest = NO_TOKEN
    for at in range(tables.source_offsets[other], tables.source_offsets[other + 1]):
        low, high = _narrowed(tables, low, high, depth, tables.source_flat[at])
        if low == high:
            break
        depth += 1
        token = tables.pivot_order[low]
        if _pivot_length(tables, token) == depth:
            longest = token
    return longest


@njit(cache=True, nogil=True)
def _narrowed(tables, low, high, depth, byte):
    """Of the sorted pivot tokens low:high, equal so far, those with `byte` at `depth`."""
    return _bound(tables, low, high, depth, byte), _bound(tables, low, high, depth, byte + 1)


@njit(cache=True, nogil=True)
def _bound(tables, low, high, depth, byte):
    while low < high:
        middle = (low + high) // 2
        at = tables.pivot_offsets[tables.pivot_order[middle]] + depth
        over = at >= tables.pivot_offsets[tables.pivot_order[middle] + 1]
        if over or tables.pivot_flat[at] < byte:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _unlisted(tables, rows, c, share, seen):
    """Mass at c that is not listed and agrees with the text so far, by the prior.

    `share`: the prior of all ids that agree; `seen`: of the known ones among them.
    """
    mass, prior = 1.0, 1.0
    for entry in range(rows.ids.shape[1]):
        other = rows.ids[c, entry]
        mass -= rows.mass[c, entry]
        if other < len(tables.prior) and rows.mass[c, entry] > 0.0:
            prior -= tables.prior[other]
    if not _listed(rows, c):
        mass -= _of_token(rows, c)
        prior -= tables.prior[rows.token[c]]
    alike = ALIKE * max(0.0, share - seen) / max(prior, SMALLEST)
    return max(0.0, mass) * min(1.0, alike)


@njit(cache=True, nogil=True)
def _share(tables, pieces):
    """The prior of all ids whose cut begins with the pivot tokens of a key."""
    at = np.searchsorted(tables.piece_keys, pieces)
    found = at < len(tables.piece_keys) and tables.piece_keys[at] == pieces
    return tables.piece_shares[at] if found else 0.0


@njit(cache=True, nogil=True)
def _unlisted_bytes(tables, rows, c, length):
    """Mass at c that is not listed and begins with the first bytes of the token there."""
    token = rows.token[c]
    listed = _listed(rows, c)
    known = 0.0 if listed else _of_token(rows, c)
    seen = 0.0 if listed else tables.prior[token]
    for entry in range(rows.ids.shape[1]):
        other = rows.ids[c, entry]
        if rows.mass[c, entry] > 0.0 and _agrees(tables, other, token, length) != DEAD:
            known += rows.mass[c, entry]
            seen += tables.prior[other]
    if len(rows.byte_mass):
        return max(0.0, rows.byte_mass[rows.byte_at[c] + length - 1] - known)
    share = tables.byte_shares[tables.source_offsets[token] + length - 1]
    return _unlisted(tables, rows, c, share, seen)


@njit(cache=True, nogil=True, inline="always")
def _listed(rows, c):
    for entry in range(rows.ids.shape[1]):
        if rows.ids[c, entry] == rows.token[c] and rows.mass[c, entry] > 0.0:
            return True
    return False


@njit(cache=True, nogil=True, inline="always")
def _next_token(tables, token, u):
    """The pivot token that begins `u` bytes inside a source token."""
    return tables.next_token[tables.source_offsets[token] + u]


@njit(cache=True, nogil=True, inline="always")
def _hashed(key, value):
    """The key of a sequence that goes on with `value`."""
    mixed = (key ^ value) * MULTIPLIER
    return mixed ^ (mixed >> SHIFT)


@njit(cache=True, nogil=True)
def prefix_keys(flat: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The keys of all prefixes of sequences, each sequence's from the shortest on; int64 [all].

    `flat`: int64, the sequences one after the other.
    """
    keys, at = np.empty(len(flat), np.int64), 0
    for length in lengths:
        prefix = EMPTY
        for _ in range(length):
            prefix = _hashed(prefix, flat[at])
            keys[at] = prefix
            at += 1
    return keys


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
def _pivot_length(tables, token):
    return tables.pivot_offsets[token + 1] - tables.pivot_offsets[token]


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
    for slot in range(k, used):
        if slots.ids[slot] == gold:
            slots.ids[k - 1], slots.mass[k - 1] = gold, slots.mass[slot]
    for slot in range(min(used, k)):
        out.ids[row, slot] = slots.ids[slot]
        out.mass[row, slot] = slots.mass[slot]
        out.mass_out[row] += slots.mass[slot]
