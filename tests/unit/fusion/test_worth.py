"""The verdict on a source before any training: by category, and in a word."""

import math

import pytest

from fusionchat.fusion import worth

FACTS = {
    "source": "big",
    "pivot": "small",
    "contest": {"dialogues": 40, "wins": 10, "source_ce_byte": 0.5, "pivot_ce_byte": 0.6},
    "mass_kept": 0.9,
    "rates": {"fallback": 0.01},
}


@pytest.mark.parametrize(
    ("wins", "kept", "expected"),
    [
        (0, 0.9, "leave it out"),
        (1, 0.9, "expect little"),
        (2, 0.9, "worth a training"),
        (40, 0.4, "cannot be aligned like this"),
    ],
)
def test_the_judgement_follows_from_what_it_would_teach_and_what_arrives(wins, kept, expected):
    facts = FACTS | {"contest": FACTS["contest"] | {"wins": wins}, "mass_kept": kept}
    assert worth.judgement(facts, 0.5) == expected
    text = worth.section(facts, [], 0.5)
    assert text.startswith(f"## big: {expected}\n")
    assert ("alignment.min_mass" in text) == (kept < 0.5)


def test_categories_count_what_both_models_scored_and_ties_teach_nothing():
    names = {"a": "math", "b": "math", "c": "coding", "d": "coding", "e": worth.NO_CATEGORY}
    pivot = {"a": 1.0, "b": 1.0, "c": 1.0, "d": math.nan, "e": 0.5}
    source = {"a": 0.5, "b": 1.0, "c": 2.0, "d": 0.1}
    rows = worth.by_category(names, pivot, source)
    assert [(r.category, r.dialogues, r.source, r.pivot, r.taught) for r in rows] == [
        ("coding", 1, 2.0, 1.0, 0),
        ("math", 2, 0.75, 1.0, 1),
    ]
    assert "| math | 2 | 0.750 | 1.000 | 1 |" in worth.section(FACTS, rows, 0.5)
