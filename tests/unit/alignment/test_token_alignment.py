"""Both methods on single turns, and the anchoring of whole dialogues."""

from dataclasses import replace

import numpy as np
import pytest
from alignment_cases import TEXTS, encode, table
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.alignment import dtw, spans
from fusionchat.alignment.groups import Aligner, Alignment, PairCounts
from fusionchat.alignment.response_tokens import ResponseTokens
from fusionchat.errors import UserError

PAIRS = ["AB", "BA", "AC", "CB"]
# A text with a space's mark in it is another text to a tokenizer that marks spaces so.
any_text = st.text(st.characters(codec="utf-8", exclude_characters="▁"), max_size=60)


def ranges(start, count):
    return list(zip(start.tolist(), count.tolist(), strict=True))


def check_shape(start, count, n, m):
    """Every pivot token covered, nothing left out or out of order."""
    assert len(start) == len(count) == n
    if n and m:
        assert (count >= 1).all()
        assert start[0] == 0
        assert start[-1] + count[-1] == m
        stops = start + count
        assert (np.diff(start) >= 0).all()
        assert (np.diff(stops) >= 0).all()
        assert (start[1:] <= stops[:-1]).all(), "no source token is skipped"


@given(any_text, st.sampled_from(PAIRS), st.sampled_from([spans.align, dtw.align]))
@settings(max_examples=150, deadline=None)
def test_any_text_is_covered_in_order(text, pair, method):
    ids = [encode(letter, text) for letter in pair]
    start, count = method(*map(table, pair), *ids)
    check_shape(start, count, *map(len, ids))


@given(any_text, st.sampled_from("ABC"), st.sampled_from([spans.align, dtw.align]))
@settings(max_examples=60, deadline=None)
def test_same_tokens_align_one_by_one(text, letter, method):
    ids, info = encode(letter, text), table(letter)
    assert ranges(*method(info, info, ids, ids)) == [(i, 1) for i in range(len(ids))]


@given(any_text)
@settings(max_examples=100, deadline=None)
def test_span_groups_spell_the_same_bytes_and_cannot_be_split(text):
    a, b = table("A"), table("B")
    p, s = encode("A", " " + text), encode("B", " " + text)
    start, count = spans.align(a, b, p, s)
    alignment = Alignment(start, count)
    p_ends, s_ends = spans.token_ends(p, a.offsets), spans.token_ends(s, b.offsets)
    common = sorted(set(p_ends.tolist()) & set(s_ends.tolist()))
    last_rows = np.flatnonzero(np.append(alignment.begins[1:], True))
    assert p_ends[last_rows].tolist() == common
    assert s_ends[(start + count)[last_rows] - 1].tolist() == common


def by_pieces(letter, pieces):
    index = {piece: i for i, piece in enumerate(table(letter).pieces)}
    return np.array([index[piece] for piece in pieces], np.int32)


@pytest.mark.parametrize(
    ("pivot", "source", "expected"),
    [
        (["▁", "w", "or"], ["Ġw", "or"], [(0, 1), (0, 1), (1, 1)]),
        (["▁w", "or"], ["Ġ", "w", "o", "r"], [(0, 2), (2, 2)]),
        (["<0xE3>", "<0x81>", "<0xAA>"], ["ã", "ģ", "ª"], [(0, 1), (1, 1), (2, 1)]),
        (["▁", "▁", "a"], ["ĠĠ", "a"], [(0, 1), (0, 1), (1, 1)]),
        (["w", "or"], ["Ġ", "w", "or"], [(0, 2), (2, 1)]),  # a space that only one side has
        (["▁w", "or"], ["w", "or"], [(0, 1), (1, 1)]),
        (["w", "or", "▁"], ["w", "or"], [(0, 1), (1, 1), (1, 1)]),
        (["w"], ["w", "Ġ"], [(0, 2)]),
    ],
)
def test_groups_by_bytes(pivot, source, expected):
    ids = by_pieces("A", pivot), by_pieces("B", source)
    assert ranges(*spans.align(table("A"), table("B"), *ids)) == expected


def test_unknown_characters_pair_with_what_they_hide():
    a, c = table("A"), table("C")
    p, s = encode("A", "to 小 be"), encode("C", "to 小 be")
    start, count = spans.align(a, c, p, s)
    unknown = int(np.flatnonzero(s == c.roles["unk"])[0])
    hidden = [p[i] for i in range(len(p)) if start[i] <= unknown < start[i] + count[i]]
    assert b"".join(a.token_bytes[i] for i in hidden) == "小".encode()


def test_a_change_of_case_or_width_keeps_the_other_cuts():
    b = table("B")
    p, s = encode("B", " The Ｅnd of it"), encode("B", " the End of it")
    start, count = spans.align(b, b, p, s)
    tail = encode("B", " of it")
    assert ranges(start, count)[-len(tail) :] == [
        (len(s) - len(tail) + i, 1) for i in range(len(tail))
    ]


def test_tokens_without_bytes_are_covered():
    start, count = np.zeros(3, np.int32), np.zeros(3, np.int32)
    spans.merge_ends(np.array([0, 2, 2]), np.array([1, 2]), start, count)
    assert ranges(start, count) == [(0, 2)] * 3


@pytest.mark.parametrize("method", ["spans", "dtw"])
def test_long_turns(method):
    p, s = encode("A", "many words " * 2000)[:4096], encode("B", "many words " * 2000)[:4096]
    start, count = Aligner(table("A"), table("B"), method).align_turn(p, s)
    check_shape(start, count, len(p), len(s))


def dialogue(letter: str, texts, ends=None) -> ResponseTokens:
    eos, ids, turns = table(letter).roles["eos"], [1], []
    for index, text in enumerate(texts):
        answer = encode(letter, text).tolist()
        answer += [eos] if ends is None or ends[index] else []
        ids += [5, 6]
        turns.append((len(ids), len(answer)))
        ids += answer
    return ResponseTokens(
        "d", np.array(ids, np.int32), np.array(turns, np.int32).reshape(-1, 2), True
    )


@given(
    st.lists(any_text, min_size=1, max_size=4),
    st.sampled_from(PAIRS),
    st.sampled_from(["spans", "dtw"]),
)
@settings(max_examples=80, deadline=None)
def test_turns_are_never_crossed_and_ends_meet(texts, pair, method):
    p, s = dialogue(pair[0], texts), dialogue(pair[1], texts)
    alignment = Aligner(table(pair[0]), table(pair[1]), method).align(p, s)
    p_stops, s_stops = np.cumsum(p.lengths), np.cumsum(s.lengths)
    for turn, (p_stop, s_stop) in enumerate(zip(p_stops, s_stops, strict=True)):
        rows = slice(p_stop - p.lengths[turn], p_stop)
        start, count = alignment.start[rows], alignment.count[rows]
        covered = count > 0
        assert (start[covered] >= s_stop - s.lengths[turn]).all()
        assert ((start + count)[covered] <= s_stop).all()
        assert (start[-1], count[-1]) == (s_stop - 1, 1)


def test_one_odd_turn_does_not_shift_the_rest():
    good, bad = dialogue("A", [TEXTS[4], "x"]), dialogue("B", ["y" * 50, "x"])
    for method in ("spans", "dtw"):
        alignment = Aligner(table("A"), table("B"), method).align(good, bad)
        own = Aligner(table("A"), table("B"), method).align(
            dialogue("A", ["x"]), dialogue("B", ["x"])
        )
        n = len(own.start)
        np.testing.assert_array_equal(alignment.start[-n:] - bad.lengths[0], own.start)


def test_equal_tokenizers_skip_the_method():
    p = dialogue("A", TEXTS)
    alignment = Aligner(table("A"), table("A"), "dtw").align(p, p)
    assert alignment.identity
    assert ranges(alignment.start, alignment.count) == [(i, 1) for i in range(len(p.ids))]


def test_a_tokenizer_without_end_of_turn_stops():
    nameless = replace(table("B"), roles={"unk": 0})
    with pytest.raises(UserError, match="names no eos_token"):
        Aligner(table("A"), nameless, "spans")


@pytest.mark.parametrize("cut", ["pivot", "source"])
def test_a_turn_cut_on_one_side_covers_what_both_have(cut):
    text = " the quiet river of the north"
    a, b = table("A"), table("B")
    p, s = dialogue("A", [text]), dialogue("B", [text])
    p_ids, s_ids = (p.ids[:4], s.ids) if cut == "pivot" else (p.ids, s.ids[:4])
    start, count = Aligner(a, b, "spans").align_turn(p_ids, s_ids)
    covered = count > 0
    whole = b"".join(a.token_bytes[i] for i in p_ids[covered])
    used = s_ids[: (start + count)[covered].max()]
    spelled = b"".join(b.token_bytes[i] for i in used)
    assert covered.all() if cut == "pivot" else not covered[-1]
    assert whole.startswith(spelled) or spelled.startswith(whole)


def test_pairs_are_counted_once_for_each_position():
    counts = PairCounts(table("A"), table("B"))
    alignment = Alignment(np.array([0, 2, 2], np.int32), np.array([3, 1, 1], np.int32))
    counts.add(np.array([1, 1, 4], np.int32), np.array([7, 7, 8], np.int32), alignment)
    counts.add(np.array([4], np.int32), np.array([8], np.int32), Alignment.same(1))
    pivot, source, count, _ = (column.tolist() for column in counts.table())
    assert list(zip(pivot, source, count, strict=True)) == [(1, 7, 1), (1, 8, 2), (4, 8, 2)]


def test_a_group_of_the_same_text_counts_once_for_the_tokens_that_begin_it():
    """`i|g|h` against `igh`, twice, then other text, then the ends of the turn."""
    a, b = table("A"), table("B")
    letters = [a.pieces.index(letter) for letter in "igh"]
    whole, eos = b.pieces.index("igh"), b.roles["eos"]
    pivot = np.array([*letters, *letters, letters[0], a.roles["eos"]], np.int32)
    source = np.array([whole, whole, whole, eos], np.int32)
    groups = Alignment(np.array([0, 0, 0, 1, 1, 1, 2, 3], np.int32), np.ones(8, np.int32))
    counts = PairCounts(a, b)
    counts.add(pivot, source, groups)
    table_of_pairs = zip(*(column.tolist() for column in counts.table()), strict=True)
    found = {(p, s): (count, n) for p, s, count, n in table_of_pairs}
    assert found[letters[0], whole] == (3, 2), "the third stands for other text"
    assert found[letters[1], whole] == (2, 0), "`g` does not begin the group"
    assert found[a.roles["eos"], eos] == (1, 0), "ends of turn are matched by role"


def test_no_pairs_at_all():
    assert [len(column) for column in PairCounts(table("A"), table("B")).table()] == [0, 0, 0, 0]


def test_cross_entropy_is_shared_out_within_groups():
    alignment = Alignment(np.array([0, 0, 1, 3], np.int32), np.array([1, 1, 2, 0], np.int32))
    found = alignment.spread(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(found, [0.5, 0.5, 5.0, np.nan])


@pytest.mark.parametrize(
    ("first", "second", "cost"),
    [
        ("abc", "abd", 1.0),
        ("abc", "abcd", 0.1),
        ("", "abc", 0.3),
        ("abc", "acb", 2.0),
        ("ac", "abc", 1.0),
    ],
)
def test_cost_of_a_pair(first, second, cost):
    assert dtw.cost_table([first], [second])[0, 0] == pytest.approx(cost)
    assert dtw.cost_table([second], [first])[0, 0] == pytest.approx(cost)


@given(
    st.lists(st.text("ab", max_size=3), min_size=1, max_size=7),
    st.lists(st.text("ab", max_size=3), min_size=1, max_size=7),
)
@settings(max_examples=100, deadline=None)
def test_warping_finds_the_cheapest_path(pivot, source):
    costs = dtw.cost_table(source, pivot)
    best = np.full(costs.shape, np.inf)
    for i, j in np.ndindex(costs.shape):
        before = [best[a, b] for a, b in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if min(a, b) >= 0]
        best[i, j] = costs[i, j] + min(before, default=0.0)
    found = dtw.align_spellings(pivot, source)
    assert found.cost == pytest.approx(best[-1, -1])
    check_shape(found.start, found.count, len(pivot), len(source))
