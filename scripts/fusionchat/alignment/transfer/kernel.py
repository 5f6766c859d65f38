"""The compiled part of `fusionchat.alignment.transfer.mass`; the rules are described there.

All of it is one file: what numba keeps of a function is made anew when the function's own file
changes, not when that of a function that it calls does. All integers come as int64 (a plain 0 has a
type of its own) and all arrays writable: every further type would be compiled again.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# (numba infers the types of what is compiled; `tables` and the classes below say them)

from typing import NamedTuple

import numpy as np
from numba import njit

from fusionchat.alignment.transfer.tables import (
    FALLBACK,
    MANY_TO_MANY,
    MANY_TO_ONE,
    ONE_TO_MANY,
    ONE_TO_ONE,
    Cuts,
    Distributions,
    Tables,
    Transferred,
)
from fusionchat.models.token_table import NO_TOKEN

OTHER_TEXT = -2  # in place of a pivot token: what stands before it is not the text so far
SMALLEST = 1e-30
# Where the text goes on so, others that begin as its token does are likelier than by the prior: so
# many times, or as that token's own lift to this power (`_lift`).
ALIKE, SHARED = 3.0, 0.3
# Compiled code makes no arrays, so numba need not count who uses them (`_nrt`): at each call it
# would do so for all arrays of `tables` and the like, which took five times as long as the work.
compiled = njit(cache=True, nogil=True, _nrt=False)
# Keys of prefixes: where they begin, and how values are mixed in.
EMPTY = np.int64(0x2545F4914F6CDD1D)
MULTIPLIER, SHIFT = np.int64(0x369DEA0F31A53F85), np.int64(32)


class Group(NamedTuple):
    """Tokens first:last of the pivot and begin:stop of the source spell one text."""

    first: int
    last: int
    begin: int
    stop: int


class Slots(NamedTuple):
    """A row in the making: pivot ids and their mass, `used[0]` of them."""

    ids: np.ndarray
    mass: np.ndarray
    used: np.ndarray


def transfer_groups(
    tables: Tables,
    source: Distributions,
    cuts: Cuts,
    pivot_ids: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    same: np.ndarray,
) -> Transferred:
    """Transfer one dialogue, group by group; `start`, `count` as in `Alignment`, `same_text`."""
    k = source.ids.shape[1]
    out = Transferred.empty(len(pivot_ids), k)
    size = k * int(count.max(initial=1)) + 1
    slots = Slots(np.empty(size, np.int64), np.empty(size), np.zeros(1, np.int64))
    _fill(tables, source, cuts, pivot_ids, start, count, same, slots, np.ones(k, np.bool_), out)
    return out


@compiled
def _fill(tables, source, cuts, pivot_ids, start, count, same, slots, alive, out):
    first = np.int64(0)
    while first < len(pivot_ids):
        group = _group(start, count, first)
        out.begins[first] = True
        single = group.last - first == 1 and group.stop - group.begin == 1
        mapped = single and tables.mapped[source.token[group.begin]] == pivot_ids[first]
        if single and (mapped or same[first]):
            _one_to_one(tables, source, cuts, pivot_ids, first, group.begin, slots, out)
        elif same[first]:
            _spelled(tables, source, cuts, pivot_ids, group, slots, alive, out)
        else:
            _fallback(source, group, out)
        first = group.last


@compiled
def _group(start, count, first):
    """The group that begins at a token of the pivot: ranges that overlap belong together."""
    stop, last = start[first] + count[first], first + 1
    while last < len(start) and start[last] < stop:
        stop = max(stop, start[last] + count[last])
        last += 1
    return Group(first, last, start[first], stop)


@compiled
def _one_to_one(tables, source, cuts, pivot_ids, row, c, slots, out):
    """Every listed id goes to its partner; a row that none of them reaches is a fallback."""
    slots.used[0] = 0
    for entry in range(source.ids.shape[1]):
        other, mass = source.ids[c, entry], source.mass[c, entry]
        out.mass_in[row] += mass
        here = other == source.token[c]
        _add(slots, pivot_ids[row] if here else _partner(tables, other), mass)
    if len(source.cut_mass) and tables.mapped[source.token[c]] == pivot_ids[row]:
        _complete(source, pivot_ids[row], c, slots)
    _keep(slots, pivot_ids[row], row, 1.0, out)
    out.token_ce[row] = source.ce[c]
    out.kinds[row] = ONE_TO_ONE if slots.used[0] else FALLBACK


@compiled
def _complete(source, gold, c, slots):
    """Add what is not listed and whose cut begins with the one token that the token at c is cut to.

    Special tokens have no cut.
    """
    if source.cut_mass_at[c + 1] - source.cut_mass_at[c] == 1:
        known = 0.0
        for slot in range(slots.used[0]):
            if slots.ids[slot] == gold:
                known = slots.mass[slot]
        _add(slots, gold, source.cut_mass[source.cut_mass_at[c]] - known)


@compiled
def _fallback(source, group, out):
    """Empty rows; the group's cross-entropy is spread evenly, NaN if there is none."""
    begin, stop = group.begin, group.stop
    for row in range(group.first, group.last):
        if stop > begin:
            out.token_ce[row] = source.ce[begin:stop].sum() / (group.last - group.first)
            out.mass_in[row] = source.mass[begin].sum()


@compiled
def _spelled(tables, source, cuts, pivot_ids, group, slots, alive, out):
    """A group of the same bytes that is not one token on both sides, row by row.

    A row begins `inside` bytes within source token c. What the source may write there so that the
    pivot's tokens before the row are those of the text has the mass `whole`, by which the row is
    divided; `unseen` is the part of it that is not listed. `reached` is the logarithm of all mass
    that spells the text so far, whose steps are the rows' cross-entropies. `alive`: the listed ids
    at c that begin as the text does so far. `ends`: where the row's token ends, in bytes of c's.
    """
    kind = MANY_TO_MANY
    if group.last - group.first == 1:
        kind = MANY_TO_ONE
    elif group.stop - group.begin == 1:
        kind = ONE_TO_MANY
    c, inside, key, written, reached = group.begin, np.int64(0), EMPTY, 0.0, 0.0
    unseen = _unlisted_mass(source, c)
    alive[:] = True
    for row in range(group.first, group.last):
        gold = pivot_ids[row]
        key, ends = _hashed(key, gold), inside + _pivot_length(tables, gold)
        slots.used[0] = 0
        whole, listed, mass = _place_listed(
            tables, source, cuts, pivot_ids, group, row, c, ends, slots, alive
        )
        here, on = _place_own(tables, source, cuts, pivot_ids, group, row, c, inside, slots)
        whole, mass = (1.0 if row == group.first else whole + here + unseen), mass + on
        if row > group.first:
            now = min(reached, written + np.log(max(whole, SMALLEST)))
            out.token_ce[row - 1], reached = reached - now, now
        left = _source_length(tables, source.token[c]) - ends
        if left > 0 or (left == 0 and c == group.begin and len(source.cut_mass)):
            found = _unlisted_pieces(tables, source, cuts, pivot_ids, group, row + 1, c, ends, key)
            inside, unseen = ends, min(unseen, found)
            mass += unseen  # behind the token's end only where it is known
        if left <= 0:
            while c < group.stop and ends >= _source_length(tables, source.token[c]):
                ends -= _source_length(tables, source.token[c])
                written += np.log(_token_probability(source, c))
                c += 1
            inside = ends
            alive[:] = True
            unseen = _unlisted_bytes(tables, source, c, inside) if inside else 0.0
        out.mass_in[row] = listed / whole
        _add(slots, gold, mass)
        _keep(slots, gold, row, whole, out)
        out.kinds[row] = kind
    out.token_ce[group.last - 1] = reached - min(reached, written)


@compiled
def _place_listed(tables, source, cuts, pivot_ids, group, row, c, ends, slots, alive):
    """Put what is listed in place of the token at c into slots, but for what goes on with `row`.

    Returns the mass of what agrees with the text so far, that with the token at c if it is listed,
    and the mass that goes on with the token of `row`: that alone stays alive.
    """
    agreeing, listed, mass, token, gold = 0.0, 0.0, 0.0, source.token[c], pivot_ids[row]
    before, through = _cut_as_text(tables, cuts, pivot_ids, group, row, c, token)
    for entry in range(source.ids.shape[1]):
        other, probability = source.ids[c, entry], source.mass[c, entry]
        if other == token:
            listed += probability
        if other == token or probability == 0.0 or not alive[entry]:
            continue
        target = _listed_piece(tables, source, cuts, pivot_ids, group, row, c, entry)
        goes_on = target == gold if through else _agrees(tables, other, token, ends)
        if not before and not goes_on:  # it agrees in bytes: what it goes on with is not known
            target = NO_TOKEN
        elif row == group.first:
            target = _partner(tables, other)
        alive[entry] = goes_on
        if goes_on or target == gold:
            mass += probability
        elif target != OTHER_TEXT:
            _add(slots, target, probability)
        if goes_on or target != OTHER_TEXT:
            agreeing += probability
    return agreeing, agreeing + listed, mass


@compiled
def _cut_as_text(tables, cuts, pivot_ids, group, row, c, token):
    """Whether the pivot cuts the group's first token by itself as in the text, before and at `row`.

    Where it does not, others that begin with the same bytes would be cut as the text is.
    """
    piece = _piece(cuts, tables.cut_at[token], NO_TOKEN, pivot_ids, group.first, row)
    later = c > group.begin or group.stop - group.begin > 1
    return later or piece != OTHER_TEXT, later or piece == pivot_ids[row]


@compiled
def _place_own(tables, source, cuts, pivot_ids, group, row, c, inside, slots):
    """The mass of the text's own token at c: what agrees with the text so far, and goes on so.

    It is followed until the pivot's tokenizer cuts as it does in the text; what is listed in place
    of the tokens on the way goes into slots.
    """
    weight, gold, agreeing, mass = _token_probability(source, c), pivot_ids[row], 0.0, 0.0
    left = _pivot_length(tables, gold) - (_source_length(tables, source.token[c]) - inside)
    crossing = row
    while c + 1 < group.stop:
        at = tables.cut_at[source.token[c]] if c == group.begin else cuts.text[c]
        closed = _piece(cuts, at, NO_TOKEN, pivot_ids, group.first, row)
        if closed == gold:
            break
        while left <= 0:
            crossing += 1
            left += _pivot_length(tables, pivot_ids[crossing])
        c += 1
        token = source.token[c]
        for entry in range(source.ids.shape[1]):
            other, probability = source.ids[c, entry], source.mass[c, entry]
            if other == token or probability == 0.0:
                continue
            target = closed
            if other < len(tables.mapped) and _source_length(tables, other):
                target = _listed_piece(tables, source, cuts, pivot_ids, group, row, c, entry)
            if target != OTHER_TEXT:
                agreeing += weight * probability
                if target == gold:
                    mass += weight * probability
                else:
                    _add(slots, target, weight * probability)
        rest = _unlisted_mass(source, c)
        going_on = min(
            rest, _unlisted_bytes(tables, source, c, min(left, _source_length(tables, token)))
        )
        agreeing += weight * (going_on if closed == OTHER_TEXT else rest)
        mass += weight * going_on
        weight *= _token_probability(source, c)
        left -= _source_length(tables, token)
    return agreeing + weight, mass + weight


@compiled
def _listed_piece(tables, source, cuts, pivot_ids, group, row, c, entry):
    """The pivot token at `row` where a listed id is written in place of the token at c."""
    other = source.ids[c, entry]
    if other >= len(tables.mapped) or not _source_length(tables, other):
        return NO_TOKEN if row == group.first else OTHER_TEXT
    at, behind = tables.cut_at[other], NO_TOKEN
    if c > group.begin:
        at = cuts.listed[c, entry]
        if at == NO_TOKEN:
            before = source.token[c - 1]
            at = tables.cut_at[before] if c - 1 == group.begin else cuts.text[c - 1]
            behind = tables.cut_at[other]
    return _piece(cuts, at, behind, pivot_ids, group.first, row)


@compiled
def _piece(cuts, at, behind, pivot_ids, first, row):
    """The pivot token at `row` in a cut of the group's text, and perhaps another behind it.

    OTHER_TEXT where its tokens before `row` are not those of the text, NO_TOKEN where it ends.
    """
    length = cuts.flat[at]
    for i in range(first, row + 1):
        step = i - first
        if step < length:
            piece = cuts.flat[at + 1 + step]
        elif behind != NO_TOKEN and step - length < cuts.flat[behind]:
            piece = cuts.flat[behind + 1 + step - length]
        else:
            return NO_TOKEN if i == row else OTHER_TEXT
        if i < row and piece != pivot_ids[i]:
            return OTHER_TEXT
    return piece


def joins(
    tables: Tables,
    source: Distributions,
    pivot_ids: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    same: np.ndarray,
) -> np.ndarray:
    """What the pivot's tokenizer must cut to tell how a group's rows go on, int64 [n, 3].

    Rows of (first source token of the group, source token c, entry): the text before c and a
    listed id, which a pivot token could join; entry -1: the text up to and with the token at c.
    """
    found = np.empty((source.ids.size + len(source.ids), 3), np.int64)
    return found[: _find_joins(tables, source, pivot_ids, start, count, same, found)]


@compiled
def _find_joins(tables, source, pivot_ids, start, count, same, found):
    first, used = np.int64(0), np.int64(0)
    while first < len(pivot_ids):
        group = _group(start, count, first)
        if same[first] and group.stop - group.begin > 1:
            used = _add_joins(tables, source, pivot_ids, group, found, used)
        first = group.last
    return used


@compiled
def _add_joins(tables, source, pivot_ids, group, found, used):
    row, done = group.first, np.int64(0)
    for c in range(group.begin + 1, group.stop):
        done += _source_length(tables, source.token[c - 1])
        while done >= _pivot_length(tables, pivot_ids[row]):
            done -= _pivot_length(tables, pivot_ids[row])
            row += 1
        low, high = np.int64(0), np.int64(len(tables.pivot_order))
        offset = tables.pivot.offsets[pivot_ids[row]]
        for depth in range(done):
            low, high = _narrowed(tables, low, high, depth, tables.pivot.flat[offset + depth])
        for entry in range(source.ids.shape[1]):
            other = source.ids[c, entry]
            if other == source.token[c] or other >= len(tables.mapped):
                continue
            if source.mass[c, entry] > 0.0 and _joined(tables, low, high, done, other):
                found[used] = group.begin, c, entry
                used += 1
        if c + 1 < group.stop:
            found[used] = group.begin, c, -1
            used += 1
    return used


@compiled
def _joined(tables, low, high, depth, other):
    """Whether one of the pivot tokens low:high goes on, after `depth` bytes, as `other` begins."""
    for at in range(tables.source.offsets[other], tables.source.offsets[other + 1]):
        low, high = _narrowed(tables, low, high, depth, tables.source.flat[at])
        if low == high:
            return False
        depth += 1
        if _pivot_length(tables, tables.pivot_order[low]) == depth:
            return True
    return False


@compiled
def _narrowed(tables, low, high, depth, byte):
    """Of the sorted pivot tokens low:high, equal so far, those with `byte` at `depth`."""
    return _bound(tables, low, high, depth, byte), _bound(tables, low, high, depth, byte + 1)


@compiled
def _bound(tables, low, high, depth, byte):
    while low < high:
        middle = (low + high) // 2
        at = tables.pivot.offsets[tables.pivot_order[middle]] + depth
        over = at >= tables.pivot.offsets[tables.pivot_order[middle] + 1]
        if over or tables.pivot.flat[at] < byte:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _unlisted_pieces(tables, source, cuts, pivot_ids, group, row, c, length, key):
    """Mass at c that is not listed and spells the text up to `row`, the first bytes of c's token.

    `key`: of the pivot's tokens of the group so far.
    """
    token = source.token[c]
    at = tables.cut_at[token]
    if c > group.begin or _piece(cuts, at, NO_TOKEN, pivot_ids, group.first, row) == OTHER_TEXT:
        return _unlisted_bytes(tables, source, c, length)
    known, seen = _token_probability(source, c), tables.prior[token]
    for entry in range(source.ids.shape[1]):
        other, probability = source.ids[c, entry], source.mass[c, entry]
        if other == token or probability == 0.0 or other >= len(tables.mapped):
            continue
        if _listed_piece(tables, source, cuts, pivot_ids, group, row, c, entry) != OTHER_TEXT:
            known += probability
            seen += tables.prior[other]
    if len(source.cut_mass):
        return max(0.0, source.cut_mass[source.cut_mass_at[c] + row - group.first - 1] - known)
    return _estimated(tables, source, c, _prior_share(tables, key), seen, _lift(tables, source, c))


@compiled
def _estimated(tables, source, c, share, seen, lift):
    """Mass at c that is not listed and agrees with the text so far, by the prior.

    `share`: the prior of all ids that agree; `seen`: of the known ones among them; `lift`: how
    much likelier the others are.
    """
    alike = lift * max(0.0, share - seen) / max(_unlisted_prior(tables, source, c), SMALLEST)
    return _unlisted_mass(source, c) * min(1.0, alike)


@compiled
def _lift(tables, source, c):
    """How much likelier than by the prior others are that begin with the token's first pivot token.

    Where they only begin with its bytes, the pivot may cut them otherwise: ALIKE stays.
    """
    if _listed(source, c) or np.isinf(source.ce[c]):
        return ALIKE
    usual = _unlisted_mass(source, c) * tables.prior[source.token[c]]
    usual /= max(_unlisted_prior(tables, source, c), SMALLEST)
    return (_token_probability(source, c) / max(usual, SMALLEST)) ** SHARED


@compiled
def _unlisted_prior(tables, source, c):
    """The prior of all ids that are neither listed at c nor stand there."""
    prior = 1.0
    for entry in range(source.ids.shape[1]):
        other = source.ids[c, entry]
        if other < len(tables.prior) and source.mass[c, entry] > 0.0:
            prior -= tables.prior[other]
    return prior if _listed(source, c) else prior - tables.prior[source.token[c]]


@compiled
def _unlisted_mass(source, c):
    """Mass at c that is neither listed nor that of the token that stands there."""
    mass = 1.0 - source.mass[c].sum()
    return max(0.0, mass if _listed(source, c) else mass - _token_probability(source, c))


@compiled
def _prior_share(tables, pieces):
    """The prior of all ids whose cut begins with the pivot tokens of a key."""
    at = np.searchsorted(tables.piece_keys, pieces)
    found = at < len(tables.piece_keys) and tables.piece_keys[at] == pieces
    return tables.piece_shares[at] if found else 0.0


@compiled
def _unlisted_bytes(tables, source, c, length):
    """Mass at c that is not listed and begins with the first bytes of the token there."""
    token = source.token[c]
    listed = _listed(source, c)
    known = 0.0 if listed else _token_probability(source, c)
    seen = 0.0 if listed else tables.prior[token]
    for entry in range(source.ids.shape[1]):
        other = source.ids[c, entry]
        if source.mass[c, entry] > 0.0 and _agrees(tables, other, token, length):
            known += source.mass[c, entry]
            seen += tables.prior[other]
    if len(source.byte_mass):
        return max(0.0, source.byte_mass[source.byte_mass_at[c] + length - 1] - known)
    share = tables.byte_shares[tables.source.offsets[token] + length - 1]
    return _estimated(tables, source, c, share, seen, ALIKE)


@compiled
def _listed(source, c):
    for entry in range(source.ids.shape[1]):
        if source.ids[c, entry] == source.token[c] and source.mass[c, entry] > 0.0:
            return True
    return False


@compiled
def _hashed(key, value):
    """The key of a sequence that goes on with `value`."""
    mixed = (key ^ value) * MULTIPLIER
    return mixed ^ (mixed >> SHIFT)


def prefix_keys(flat: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The keys of all prefixes of sequences, each sequence's from the shortest on; int64 [all].

    `flat`: int64, the sequences one after the other.
    """
    keys = np.empty(len(flat), np.int64)
    _write_keys(flat, lengths, keys)
    return keys


@compiled
def _write_keys(flat, lengths, keys):
    at = 0
    for length in lengths:
        prefix = EMPTY
        for _ in range(length):
            prefix = _hashed(prefix, flat[at])
            keys[at] = prefix
            at += 1


@compiled
def _token_probability(source, c):
    """Probability of the token that stands at c, never 0: listed, or from its cross-entropy."""
    for entry in range(source.ids.shape[1]):
        if source.ids[c, entry] == source.token[c] and source.mass[c, entry] > 0.0:
            return source.mass[c, entry]
    return max(np.exp(-source.ce[c]), SMALLEST)


@compiled
def _agrees(tables, other, token, length):
    """Whether `other` begins with the first `length` bytes of `token`."""
    if other >= len(tables.mapped) or _source_length(tables, other) < length:
        return False
    a, b = tables.source.offsets[other], tables.source.offsets[token]
    i = 0
    while i < length and tables.source.flat[a + i] == tables.source.flat[b + i]:
        i += 1
    return i == length


@compiled
def _source_length(tables, token):
    return tables.source.offsets[token + 1] - tables.source.offsets[token]


@compiled
def _pivot_length(tables, token):
    return tables.pivot.offsets[token + 1] - tables.pivot.offsets[token]


@compiled
def _partner(tables, token):
    """A model may list ids beyond the tokenizer's; they have no partner."""
    return tables.mapped[token] if token < len(tables.mapped) else NO_TOKEN


@compiled
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


@compiled
def _keep(slots, gold, row, whole, out):
    """Write the k most probable slots, best first, divided by `whole`; `gold` is never cut."""
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
        out.mass[row, slot] = slots.mass[slot] / whole
        out.mass_out[row] += slots.mass[slot] / whole
