"""Rows of which nothing arrives: left empty, counted, and the pivot's to teach."""

import numpy as np
from alignment_cases import words

from fusionchat.alignment import vocabulary_map
from fusionchat.alignment.groups import Alignment
from fusionchat.alignment.transfer.mass import MassTransfer
from fusionchat.alignment.transfer.tables import KINDS


def test_other_bytes_are_a_counted_fallback():
    pivot, source = words("ab", "cd"), words("ax", "cd")
    alignment = Alignment.same(2)
    rules = MassTransfer.of(pivot, source, vocabulary_map.exact(source, pivot))
    ids = np.array([0, 1], np.int32)
    top = np.array([[0, 1], [1, 0]], np.int32)
    found = rules(ids, ids, alignment, top, np.log(np.full((2, 2), 0.5)), np.array([0.7, 0.7]))
    assert [KINDS[kind] for kind in found.kinds] == ["fallback", "one_to_one"]
    assert not np.isfinite(found.logprobs[0]).any()
    np.testing.assert_allclose(found.token_ce, 0.7)


def test_a_row_of_which_no_listed_token_has_a_partner_is_a_fallback():
    """Fusion takes the pivot's distribution there, so the report must count it."""
    pivot, source = words("a", "b"), words("a", "x", "b")
    rules = MassTransfer.of(pivot, source, vocabulary_map.exact(source, pivot))
    top, logs = np.array([[1], [2]], np.int32), np.log(np.full((2, 1), 0.7))
    p, s, ce = np.array([0, 1], np.int32), np.array([0, 2], np.int32), np.array([2.0, 0.4])
    found = rules(p, s, Alignment.same(2), top, logs, ce)
    assert [KINDS[kind] for kind in found.kinds] == ["fallback", "one_to_one"]
    np.testing.assert_allclose(found.mass_out, [0, 0.7])
    np.testing.assert_allclose(found.token_ce, ce)


def test_a_source_without_tokens_there_teaches_nothing():
    info = words("a", "b")
    rules = MassTransfer.of(info, info, np.arange(2, dtype=np.int32))
    alignment = Alignment(np.array([0, 1], np.int32), np.array([1, 0], np.int32))
    ids = np.array([0, 1], np.int32)
    top, mass = np.zeros((1, 1), np.int32), np.zeros((1, 1))
    found = rules(ids, ids[:1], alignment, top, mass, np.zeros(1))
    assert np.isnan(found.token_ce[1])
    assert KINDS[found.kinds[1]] == "fallback"
