"""Who would teach: by dialogue, by category, and in the sentence that a person decides by."""

import math

import pytest

from fusionchat.alignment import contest


def facts(**numbers):
    values = {"dialogues": 40, "wins": 10, "source_ce_byte": 0.5, "pivot_ce_byte": 0.6} | numbers
    return {"source": "big", "pivot": "small", "contest": values, "rates": {"fallback": 0.0}}


def test_the_sentence_names_what_it_would_teach():
    assert contest.verdict(facts()) == (
        "big would teach 10 of 40 dialogues (25.0%), those where its cross-entropy is lower than "
        "that of small (mean cross-entropy 0.500 nats per byte, small 0.600)."
    )


def test_the_sentence_of_a_source_that_never_wins():
    sentence = contest.verdict(facts(wins=0, source_ce_byte=0.7))
    assert sentence == (
        "big teaches nothing: its cross-entropy is lower than that of small in no dialogue "
        "(mean cross-entropy 0.700 nats per byte, small 0.600)."
    )


def test_the_sentence_of_a_source_that_is_the_pivot_under_another_name():
    same = {"a": 0.25, "b": 1.0, "c": 0.1}
    sentence = contest.verdict(facts(**contest.contest(same, same).facts()))
    assert sentence.startswith(
        "big teaches nothing: its cross-entropy is that of small in every dialogue (mean"
    )


def test_the_sentence_of_a_source_of_which_nothing_arrives():
    values = facts() | {"rates": {"fallback": 1.0}}
    assert not contest.teaches(values)
    assert contest.verdict(values) == (
        "big teaches nothing: none of its distributions reaches the vocabulary of small."
    )


def test_the_sentence_where_nothing_can_be_compared():
    none = contest.contest({"a": 1.0, "b": math.nan}, {"b": 1.0, "c": 1.0}).facts()
    assert none == {"dialogues": 0, "wins": 0, "source_ce_byte": None, "pivot_ce_byte": None}
    assert contest.verdict(facts(**none)) == (
        "big teaches nothing: no dialogue was scored by both it and small."
    )


def test_categories_count_what_both_models_scored_and_ties_teach_nothing():
    names = {"a": "math", "b": "math", "c": "coding", "d": "coding", "e": contest.NO_CATEGORY}
    pivot = {"a": 1.0, "b": 1.0, "c": 1.0, "d": math.nan, "e": 0.5}
    source = {"a": 0.5, "b": 1.0, "c": 2.0, "d": 0.1, "elsewhere": 0.0}
    rows = {n: one.facts() for n, one in contest.by_category(names, source, pivot).items()}
    assert list(rows) == ["coding", "math"], "none of the pivot's own alone"
    assert rows["coding"] == pytest.approx(
        {"dialogues": 1, "wins": 0, "source_ce_byte": 2.0, "pivot_ce_byte": 1.0}
    )
    rest = contest.by_category({"a": "math"}, source, pivot)
    assert {name: len(one.source) for name, one in rest.items()} == {"(none)": 2, "math": 1}
    assert not contest.by_category({}, source, pivot)
    table = contest.table("big", "small", rows)
    assert table[-1] == "| math | 2 | 0.750 | 1.000 | 1 (50.0%) |"


def test_a_category_with_a_bar_stays_one_cell():
    row = contest.contest({"a": 0.5}, {"a": 1.0}).facts()
    (line,) = contest.table("big", "small", {"math|\nlogic": row})[2:]
    assert line.startswith("| math\\| logic | 1 |")
