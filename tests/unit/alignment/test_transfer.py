"""The `mass` rules: conservation, identity, and exact chain-rule probabilities."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from alignment_cases import TEXTS, distributions, encode, table, words
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.alignment import spans, vocabulary, vocabulary_map
from fusionchat.alignment.aligned_store import known_share
from fusionchat.alignment.groups import Alignment
from fusionchat.alignment.transfer import prior
from fusionchat.alignment.transfer.mass import MassTransfer
from fusionchat.alignment.transfer.tables import KINDS

NO_PAIRS = vocabulary.Pairs(*(np.empty(0, np.int64) for _ in range(4)))


def transfer(pivot, source, pivot_ids, source_ids, distribution, mapped=None):
    """Transfer full distributions: probabilities [M, source size]."""
    pivot_ids, source_ids = np.array(pivot_ids, np.int32), np.array(source_ids, np.int32)
    order = np.argsort(-distribution, axis=1).astype(np.int32)
    logprobs = np.log(np.take_along_axis(distribution, order, axis=1))
    ce = -np.log(distribution[np.arange(len(source_ids)), source_ids])
    mapped = vocabulary_map.exact(source, pivot) if mapped is None else mapped
    rules = MassTransfer.of(pivot, source, mapped)
    alignment = Alignment(*spans.align(pivot, source, pivot_ids, source_ids))
    return rules(pivot_ids, source_ids, alignment, order, logprobs, ce)


def probabilities(found, row):
    used = np.isfinite(found.logprobs[row])
    return dict(zip(found.ids[row, used].tolist(), np.exp(found.logprobs[row, used]), strict=True))


@given(st.sampled_from(["AB", "BA", "AC", "CB", "AA"]), st.integers(0, 99), st.text(max_size=40))
@settings(max_examples=150, deadline=None)
def test_probability_is_conserved(pair, seed, text):
    pivot, source = map(table, pair)
    pivot_ids, source_ids = encode(pair[0], text), encode(pair[1], text)
    if not len(source_ids):
        return
    top_ids, logprobs, ce = distributions(np.random.default_rng(seed), source_ids, source.size, 6)
    alignment = Alignment(*spans.align(pivot, source, pivot_ids, source_ids))
    rules = MassTransfer.of(pivot, source, vocabulary_map.exact(source, pivot))
    found = rules(pivot_ids, source_ids, alignment, top_ids, logprobs, ce)
    total = np.exp(found.logprobs).sum(axis=1)
    assert (total <= 1 + 1e-9).all(), "transferred + tail = 1 with a tail that is not negative"
    np.testing.assert_allclose(found.mass_out, total)
    for row in range(len(pivot_ids)):
        used = found.ids[row, np.isfinite(found.logprobs[row])]
        assert len(set(used.tolist())) == len(used)
    assert found.token_ce.sum() == pytest.approx(ce.sum()), "the text's probability is the source's"
    empty = found.kinds == KINDS.index("fallback")
    assert (total[empty] == 0).all()
    assert (total[~empty] > 0).all()


@st.composite
def random_case(draw):
    """Two vocabularies of three letters, a text that each cuts at random, full distributions."""

    def cut(text):
        pieces = sorted(
            {*"abc", *draw(st.sets(st.text("abc", min_size=2, max_size=4), max_size=12))}
        )
        ids, at = [], 0
        while at < len(text):
            ids.append(
                draw(st.sampled_from([i for i, p in enumerate(pieces) if text.startswith(p, at)]))
            )
            at += len(pieces[ids[-1]])
        return words(*pieces), np.array(ids, np.int32)

    text = draw(st.text("abc", min_size=1, max_size=14))
    (pivot, p_ids), (source, s_ids) = cut(text), cut(text)
    rows = random_rows(len(s_ids), source.size, draw(st.integers(0, 99)))
    return pivot, source, p_ids, s_ids, rows, draw(st.integers(1, 6))


@given(random_case())
@settings(max_examples=300, deadline=None)
def test_any_vocabularies_conserve_probability_and_keep_the_chain_rule(case):
    """Whatever is listed, and however a text is cut."""
    pivot, source, p_ids, s_ids, rows, k = case
    order = np.argsort(-rows, axis=1).astype(np.int32)[:, :k]
    logs = np.log(np.take_along_axis(rows, order, axis=1))
    ce = -np.log(rows[np.arange(len(s_ids)), s_ids])
    alignment = Alignment(*spans.align(pivot, source, p_ids, s_ids))
    rules = MassTransfer.of(pivot, source, vocabulary_map.exact(source, pivot))
    found = rules(p_ids, s_ids, alignment, order, logs, ce)
    assert (found.mass.sum(axis=1) <= 1 + 1e-9).all()
    gold = np.where(found.ids == p_ids[:, None], found.mass, 0).sum(axis=1)
    empty = found.kinds == KINDS.index("fallback")  # one token to one: nothing listed has a partner
    assert alignment.begins[empty].all()
    assert (alignment.count[empty] == 1).all()
    in_list = empty | (found.kinds == KINDS.index("one_to_one"))  # or not, as in the list
    assert (gold >= np.exp(-found.token_ce) - 1e-9)[~in_list].all()
    assert (found.token_ce >= -1e-9).all()
    own = alignment.spread(ce)
    for group in np.split(np.arange(len(p_ids)), np.flatnonzero(alignment.begins)[1:]):
        assert found.token_ce[group].sum() == pytest.approx(own[group].sum())


def test_the_prior_of_a_prefix_is_that_of_all_tokens_that_begin_so():
    """Also in the compiled code, whose sums must be those of plain Python."""
    source = words("a", "ab", "abc", "b", "bc")
    texts = list(source.token_bytes)
    found = prior.build(source, texts, [tuple(text) for text in texts])
    for token, text in enumerate(texts):
        for length in range(1, len(text) + 1):
            share = found.byte_shares[source.offsets[token] + length - 1]
            begin = [other.startswith(text[:length]) for other in texts]
            assert share == pytest.approx(found.weights[begin].sum())


@given(st.integers(0, 99), st.text(min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_equal_tokenizers_change_nothing(seed, text):
    info, ids = table("B"), encode("B", text)
    top_ids, logprobs, ce = distributions(np.random.default_rng(seed), ids, info.size, 5)
    logprobs = logprobs.astype(np.float16)
    rules = MassTransfer.of(info, info, vocabulary_map.identity(info, info))
    found = rules(ids, ids, Alignment.same(len(ids)), top_ids, logprobs, ce)
    np.testing.assert_array_equal(found.ids, top_ids)
    np.testing.assert_array_equal(found.logprobs.astype(np.float16), logprobs)
    np.testing.assert_array_equal(found.token_ce, ce)
    np.testing.assert_allclose(found.mass_in, found.mass_out)


def test_without_cross_entropies_a_token_that_is_not_listed_has_no_probability():
    """An imported dump of an equal tokenizer that cut the text otherwise."""
    pivot, source = words("ab", "a", "b", "c"), words("a", "b", "c")
    pivot_ids, source_ids = np.array([0], np.int32), np.array([0, 1], np.int32)
    top_ids = np.array([[0, 2], [0, 2]], np.int32)
    rules = MassTransfer.of(pivot, source, vocabulary_map.exact(source, pivot))
    alignment = Alignment(*spans.align(pivot, source, pivot_ids, source_ids))
    logprobs, unknown = np.log(np.full((2, 2), 0.5)), np.full(2, np.nan)
    found = rules(pivot_ids, source_ids, alignment, top_ids, logprobs, unknown)
    assert probabilities(found, 0)[0] == pytest.approx(0, abs=1e-9)
    assert probabilities(found, 0)[3] == pytest.approx(0.5)
    assert np.isnan(found.token_ce).all()


def test_long_turns():
    a, b = table("A"), table("B")
    text = " the quiet river, and the other one" * 600
    p, s = encode("A", text), encode("B", text)
    assert len(p) > 4096
    top_ids, logprobs, ce = distributions(np.random.default_rng(0), s, b.size, 10)
    rules = MassTransfer.of(a, b, vocabulary_map.exact(b, a))
    found = rules(p, s, Alignment(*spans.align(a, b, p, s)), top_ids, logprobs, ce)
    assert not (found.kinds == KINDS.index("fallback")).any()
    assert found.token_ce.sum() == pytest.approx(ce.sum())


def random_rows(rows, size, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(size), rows)


def test_many_source_tokens_give_the_product_of_their_conditionals():
    pivot, source = words("abc", "a", "x", "bc"), words("a", "b", "c", "x")
    p = random_rows(3, 4)
    found = transfer(pivot, source, [0], [0, 1, 2], p)
    row = probabilities(found, 0)
    assert row[0] == pytest.approx(p[0, 0] * p[1, 1] * p[2, 2])
    assert row[2] == pytest.approx(p[0, 3]), "the rest comes from the first position"
    assert row[1] == pytest.approx(p[0, 0] - row[0]), "what begins with `a` and goes on otherwise"
    assert KINDS[found.kinds[0]] == "many_to_one"


def test_one_source_token_gives_exact_conditionals_of_its_parts():
    """Pivot: single letters. Source: all pairs of letters, so its text is the same process."""
    letters = "abc"
    pivot = words(*letters)
    source = words(*("".join(pair) for pair in itertools.product(letters, repeat=2)))
    p = random_rows(1, 9)[0].reshape(3, 3)
    begins = np.array([letters.index(piece[0]) for piece in source.pieces], np.int32)
    gold = source.pieces.index("ba")
    found = transfer(pivot, source, [1, 0], [gold], p.reshape(1, 9), begins)
    first, second = probabilities(found, 0), probabilities(found, 1)
    assert [first[i] for i in range(3)] == pytest.approx(p.sum(axis=1).tolist())
    assert [second[i] for i in range(3)] == pytest.approx((p[1] / p[1].sum()).tolist())
    assert found.token_ce.sum() == pytest.approx(-np.log(p[1, 0]))
    assert {KINDS[kind] for kind in found.kinds} == {"one_to_many"}


def test_overlapping_tokens_give_exact_conditionals():
    """`abc|abc` against `ab|ca|bc`: the boundary of the pivot lies inside a source token."""
    pivot = words("abc", "c", "cc")
    source = words("ab", "ca", "bc", "cb", "aa")
    p = random_rows(3, 5)
    found = transfer(pivot, source, [0, 0], [0, 1, 2], p)
    begins_c = p[1, 1] + p[1, 3]
    assert probabilities(found, 0)[0] == pytest.approx(p[0, 0] * begins_c)
    assert probabilities(found, 1)[0] == pytest.approx(p[1, 1] / begins_c * p[2, 2])
    assert found.token_ce.sum() == pytest.approx(-np.log(p[0, 0] * p[1, 1] * p[2, 2]))
    assert {KINDS[kind] for kind in found.kinds} == {"many_to_many"}


@given(
    st.permutations([1, 2, 3]),
    st.text("ab", min_size=12, max_size=12),
    st.floats(0.01, 0.99),
    st.floats(0.01, 0.99),
)
@settings(max_examples=100, deadline=None)
def test_the_pivot_under_another_tokenisation_gives_the_exact_chain_rule(sizes, text, a, b):
    """Letters follow a Markov chain; pivot and source cut them into blocks of other lengths."""
    chain = {"a": {"a": a, "b": 1 - a}, "b": {"a": b, "b": 1 - b}}

    def probability(block, before):
        return np.prod([chain[x][y] for x, y in itertools.pairwise(before + block)])

    def cut(size):
        info = words(*map("".join, itertools.product("ab", repeat=size)))
        parts = [text[i : i + size] for i in range(0, len(text), size)]
        ids = [info.pieces.index(part) for part in parts]
        return info, ids, ["a", *(part[-1] for part in parts[:-1])]

    (pivot, p_ids, p_before), (source, s_ids, s_before) = map(cut, sizes[:2])
    rows = [[probability(piece, before) for piece in source.pieces] for before in s_before]
    found = transfer(pivot, source, p_ids, s_ids, np.array(rows))
    exact = [
        probability(pivot.pieces[i], before) for i, before in zip(p_ids, p_before, strict=True)
    ]
    gold = [probabilities(found, row)[i] for row, i in enumerate(p_ids)]
    assert gold == pytest.approx(exact)
    assert np.exp(-found.token_ce) == pytest.approx(exact)


def test_a_whole_token_of_the_pivot_is_not_cut():
    """`love` is a pivot token: it keeps its probability although it begins with `lo`."""
    pivot, source = words("l", "o", "love"), words("lo", "love")
    found = transfer(pivot, source, [0, 1], [0], np.array([[0.6, 0.4]]))
    assert probabilities(found, 0) == pytest.approx({0: 0.6, 2: 0.4})
    assert probabilities(found, 1) == pytest.approx({1: 1.0})


def test_what_ended_is_tail_at_the_next_step():
    pivot, source = words("l", "o"), words("lo", "l")
    found = transfer(pivot, source, [0, 1], [0], np.array([[0.3, 0.1]]))
    assert probabilities(found, 0) == pytest.approx({0: 0.4})
    assert probabilities(found, 1) == pytest.approx({1: 0.75}), "0.25 goes on with unknown bytes"


def test_a_gold_token_that_is_not_listed_counts_through_its_cross_entropy():
    pivot, source = words("ab", "x"), words("a", "b", "x")
    rules = MassTransfer.of(pivot, source, vocabulary_map.exact(source, pivot))
    ids, alignment = (
        np.array([0, 1], np.int32),
        Alignment(np.zeros(1, np.int32), np.full(1, 2, np.int32)),
    )
    top = np.full((2, 1), 2, np.int32)
    ce = np.array([1.0, 2.0])
    found = rules(np.zeros(1, np.int32), ids, alignment, top, np.log(np.full((2, 1), 0.5)), ce)
    assert found.ids[0, 0] == 0, "the token that stands there is never cut"
    assert found.logprobs[0, 0] == pytest.approx(-3.0)
    assert found.token_ce[0] == pytest.approx(3.0)


def test_partners_of_several_ids_add_up():
    pivot, source = words("a", "b"), words("a", "b", "c")
    p = np.array([[0.5, 0.2, 0.3]])
    found = transfer(pivot, source, [0], [0], p, np.array([0, 1, 1], np.int32))
    assert probabilities(found, 0) == pytest.approx({0: 0.5, 1: 0.5})


def test_ids_beyond_the_tokenizer_have_no_partner():
    """Models are padded to round vocabulary sizes; such an id can be listed."""
    info = words("a", "b", "ab")
    rules = MassTransfer.of(info, info, np.arange(3, dtype=np.int32))
    top = np.array([[0, 63]], np.int32)
    ids = np.zeros(1, np.int32)
    logs, ce = np.log(np.array([[0.6, 0.4]])), np.array([0.5])
    found = rules(ids, ids, Alignment.same(1), top, logs, ce)
    assert probabilities(found, 0) == pytest.approx({0: 0.6})
    parts = Alignment(np.zeros(2, np.int32), np.ones(2, np.int32))
    found = rules(np.array([0, 1], np.int32), np.array([2], np.int32), parts, top, logs, ce)
    assert np.isfinite(found.logprobs[:, 0]).all()


@given(st.sampled_from(["AB", "BA", "AC", "CB"]), st.integers(0, 99), st.text(max_size=30))
@settings(max_examples=60, deadline=None)
def test_full_lists_leave_only_what_has_no_partner_to_the_tail(pair, seed, text):
    """Known and tail add up to one, and the gold tokens' chain is at least the text's own."""
    pivot, source = map(table, pair)
    pivot_ids, source_ids = encode(pair[0], text), encode(pair[1], text)
    if not len(source_ids):
        return
    distribution = np.random.default_rng(seed).dirichlet(np.full(source.size, 0.1), len(source_ids))
    distribution = (distribution + 1e-6) / (distribution + 1e-6).sum(axis=1, keepdims=True)
    found = transfer(pivot, source, pivot_ids, source_ids, distribution)
    known = found.mass.sum(axis=1)
    assert (known <= 1 + 1e-9).all()
    gold = np.where(found.ids == pivot_ids[:, None], found.mass, 0).sum(axis=1)
    spelled = found.kinds != KINDS.index("fallback")
    assert (gold[spelled] >= np.exp(-found.token_ce[spelled]) - 1e-9).all()
    own = -np.log(distribution[np.arange(len(source_ids)), source_ids])
    assert found.token_ce.sum() == pytest.approx(own.sum())


def test_unlisted_mass_is_part_of_every_denominator():
    """`lo` is not certain after `l`, only because nothing else that begins with `l` is listed."""
    pivot = words("l", "o", "x", "a")
    source = words("lo", "x", "la", "lx")
    rules = MassTransfer.of(pivot, source, vocabulary_map.exact(source, pivot))
    alignment = Alignment(np.zeros(2, np.int32), np.ones(2, np.int32))
    top, logs = np.array([[1, 0]], np.int32), np.log(np.array([[0.5, 0.1]]))
    ids, ce = (np.array([0, 1], np.int32), np.zeros(1, np.int32)), np.array([-np.log(0.1)])
    found = rules(*ids, alignment, top, logs, ce)
    assert probabilities(found, 0)[0] == pytest.approx(0.5), "all that is unlisted begins with `l`"
    assert probabilities(found, 1)[1] == pytest.approx(0.2)
    assert found.mass[1].sum() == pytest.approx(0.2), "what is not known stays tail"
    assert found.token_ce.sum() == pytest.approx(ce.sum())


def test_a_list_of_everything_gives_the_exact_rows():
    """Against the sums over all source tokens that the benchmark computes."""
    sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
    from support.exact_transfer import Exact, Text

    for pair in ("AB", "BA", "CB"):
        pivot, source = map(table, pair)
        for seed, text in enumerate(TEXTS):
            p, s = encode(pair[0], text), encode(pair[1], text)
            if not len(s):
                continue
            distribution = np.random.default_rng(seed).dirichlet(np.full(source.size, 0.05), len(s))
            distribution = (distribution + 1e-5) / (distribution + 1e-5).sum(axis=1, keepdims=True)
            mapped = vocabulary.build(pivot, source, NO_PAIRS, "statistics").mapped
            found = transfer(pivot, source, p, s, distribution, mapped)
            alignment = Alignment(*spans.align(pivot, source, p, s))
            for row in Exact(pivot, source).rows(Text(text, p, s, distribution, alignment)):
                gold = probabilities(found, row.position)[row.gold]
                assert gold == pytest.approx(row.exact[row.gold], abs=1e-3), (pair, row)


@pytest.mark.parametrize("strategy", vocabulary.STRATEGIES)
def test_every_map_keeps_to_the_rules(strategy):
    a, b = table("A"), table("B")
    mapped = vocabulary.build(a, b, NO_PAIRS, strategy).mapped
    text = " ".join(TEXTS)
    p, s = encode("A", text), encode("B", text)
    top_ids, logprobs, ce = distributions(np.random.default_rng(1), s, b.size, 10)
    alignment = Alignment(*spans.align(a, b, p, s))
    found = MassTransfer.of(a, b, mapped)(p, s, alignment, top_ids, logprobs, ce)
    assert (found.mass_out <= 1 + 1e-9).all()
    assert found.token_ce.sum() == pytest.approx(ce.sum())
    assert not (found.ids[found.mass > 0] == a.roles["unk"]).any(), "what has no partner is tail"


def test_the_known_share_is_the_papers_for_one_token_to_one():
    """What a list leaves out is renormalised away as in the paper, what found no partner is not."""
    pivot, source = words("a", "b", "l", "o"), words("a", "b", "x", "lo")
    rules = MassTransfer.of(pivot, source, vocabulary_map.exact(source, pivot))
    groups = Alignment(np.array([0, 1, 2, 2], np.int32), np.ones(4, np.int32))
    top = np.array([[0, 1], [1, 2], [3, 2]], np.int32)
    logs = np.log(np.array([[0.5, 0.25], [0.6, 0.2], [0.25, 0.5]]))
    p, s = np.array([0, 1, 2, 3], np.int32), np.array([0, 1, 3], np.int32)
    found = rules(p, s, groups, top, logs, -logs[:, 0])
    share = known_share(found)
    assert share[:2] == pytest.approx([1.0, 0.75], abs=1e-3)
    assert share[2] == pytest.approx(found.mass[2].sum(), abs=1e-3)
    assert share[2] < 0.3
