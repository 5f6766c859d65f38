import numpy as np
import pytest
from alignment_cases import model_folder, table
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from fusionchat.alignment import vocabulary, vocabulary_map
from fusionchat.alignment.vocabulary import HOW, Pairs
from fusionchat.errors import UserError
from fusionchat.models import token_table

NO_PAIRS = Pairs(*(np.empty(0, np.int64) for _ in range(4)))


def ids(letter, *pieces):
    return [table(letter).pieces.index(piece) for piece in pieces]


def pairs_of(counts: dict[tuple[int, int], int], size: int) -> Pairs:
    """Each count one of groups, and of positions."""
    pivot, source = np.array(list(counts), np.int64).reshape(-1, 2).T
    number = np.array([*counts.values()], np.int64)
    return Pairs.sum([(pivot, source, number, number)], size)


def test_exact_maps_equal_bytes_and_roles():
    a, b = table("A"), table("B")
    mapped = vocabulary_map.exact(b, a)
    for index in np.flatnonzero(mapped >= 0):
        if not b.special[index]:
            assert a.token_bytes[mapped[index]] == b.token_bytes[index]
    assert mapped[b.roles["eos"]] == a.roles["eos"]
    assert mapped[b.roles["unk"]] == token_table.NO_TOKEN
    assert (mapped >= 0).sum() > 300


def test_ordinary_tokens_go_before_byte_tokens():
    a, b = table("A"), table("B")
    letter, newline = ids("B", "a", "Ċ")
    mapped = vocabulary_map.exact(b, a)
    assert a.pieces[mapped[letter]] == "a"
    assert a.token_bytes[mapped[newline]] == b"\n"
    byte = ids("A", "<0x61>")[0]
    assert vocabulary_map.exact(a, a)[byte] == byte


def unmapped_token(source, pivot) -> int:
    """` was` of the source, which is no token of the pivot."""
    (index,) = ids("B", "Ġwas")
    assert vocabulary_map.exact(source, pivot)[index] < 0
    return index


def test_statistics_take_the_most_frequent_partner_that_begins_the_token():
    a, b = table("A"), table("B")
    source = unmapped_token(b, a)
    space, longer, other = ids("A", "▁", "▁w", "t")
    counts = {(space, source): 9, (longer, source): 3, (other, source): 99}
    frequent = vocabulary.build(a, b, pairs_of(counts, a.size), "statistics")
    assert frequent.mapped[source] == space
    assert HOW[frequent.how[source]] == "statistics"
    assert (frequent.mapped[frequent.how == HOW.index("none")] == -1).all()


def test_on_equal_counts_the_longer_beginning_wins():
    a, b = table("A"), table("B")
    source = unmapped_token(b, a)
    space, longer = ids("A", "▁", "▁w")
    counts = pairs_of({(space, source): 2, (longer, source): 2}, a.size)
    assert vocabulary.build(a, b, counts, "statistics").mapped[source] == longer


def test_without_counts_a_token_goes_where_the_pivot_cuts_it():
    a, b = table("A"), table("B")
    found = vocabulary.build(a, b, pairs_of({}, a.size), "statistics")
    for source in np.flatnonzero(found.how == HOW.index("cut")).tolist():
        begin = a.token_bytes[found.mapped[source]]
        assert b.token_bytes[source].startswith(begin)
        assert b.token_bytes[source] != begin


@given(
    st.lists(st.text("abc", max_size=5), min_size=1, max_size=12),
    st.lists(st.text("abc", max_size=5), min_size=1, max_size=12),
)
@settings(max_examples=100, deadline=None)
def test_min_edit_is_the_first_of_the_nearest(source, pivot):
    expected = [
        min(range(len(pivot)), key=lambda i: (Levenshtein.distance(text, pivot[i]), i))
        for text in source
    ]
    assert vocabulary.min_edit(source, pivot).tolist() == expected


def test_min_edit_of_long_strings():
    long = ["a" * 400, "b" * 300]
    assert vocabulary.min_edit(["a" * 380 + "c" * 20], long).tolist() == [0]
    far, near = "a" * 400, "c" * 200 + "a" * 200
    assert vocabulary.min_edit(["c" * 400], [far, near]).tolist() == [1]


def test_min_edit_leaves_nothing_open():
    a, b = table("A"), table("B")
    found = vocabulary.build(a, b, NO_PAIRS, "min_edit")
    text = ~b.special
    assert (found.mapped[text] >= 0).all()
    assert not a.special[found.mapped[text]].any()


@pytest.mark.parametrize("strategy", vocabulary.STRATEGIES)
def test_equal_tokenizers_give_the_identity(strategy):
    a = table("A")
    found = vocabulary.build(a, a, NO_PAIRS, strategy)
    np.testing.assert_array_equal(found.mapped, np.arange(a.size))


@pytest.mark.parametrize("strategy", vocabulary.STRATEGIES)
def test_special_tokens_go_by_role_under_every_strategy(strategy):
    a, b = table("A"), table("B")
    found = vocabulary.build(a, b, NO_PAIRS, strategy)
    for role in ("bos", "eos"):
        assert found.mapped[b.roles[role]] == a.roles[role]


def test_unmatched_special_tokens_have_no_partner(tmp_path):
    def add(content, names):
        content["added_tokens"].append({"id": 600, "content": "<|tool|>", "special": True})

    more = token_table.load(model_folder(tmp_path / "m", "A", add))
    found = vocabulary.build(table("A"), more, NO_PAIRS, "statistics")
    assert found.mapped[600] == token_table.NO_TOKEN
    np.testing.assert_array_equal(found.mapped[:600], np.arange(600))


def test_file_round_trip_and_its_tokenizers(tmp_path):
    a, b, c = table("A"), table("B"), table("C")
    counts = pairs_of({(5, 7): 3, (6, 7): 1, (5, 9): 2}, a.size)
    found = vocabulary.build(a, b, counts, "statistics")
    path = tmp_path / "v.parquet"
    vocabulary.write(path, found, a, b, "statistics")
    again = vocabulary.read(path, a, b)
    for name in ("mapped", "how"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    for name in ("pivot", "source", "count", "groups"):
        np.testing.assert_array_equal(getattr(again.pairs, name), getattr(counts, name))
    with pytest.raises(UserError, match="another source tokenizer"):
        vocabulary.read(path, a, c)


def test_foreign_files_stop(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        vocabulary.read(tmp_path / "none", table("A"), table("B"))
    (tmp_path / "text").write_text("no parquet")
    with pytest.raises(UserError, match="not Parquet"):
        vocabulary.read(tmp_path / "text", table("A"), table("B"))
