"""The verdict on a source before any training: by category, and in a word."""

import pytest

from fusionchat.fusion import worth

NUMBERS = {"dialogues": 40, "wins": 10, "source_ce_byte": 0.5, "pivot_ce_byte": 0.6}
FACTS = {
    "source": "big",
    "pivot": "small",
    "contest": NUMBERS,
    "categories": {"math": NUMBERS | {"dialogues": 4, "wins": 1}},
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
    facts = FACTS | {"contest": NUMBERS | {"wins": wins}, "mass_kept": kept}
    assert worth.judgement(facts, 0.5) == expected
    text = worth.section(facts, 0.5)
    assert text.startswith(f"## big: {expected}\n")
    assert ("alignment.min_mass" in text) == (kept < 0.5)
    assert "| math | 4 | 0.500 | 0.600 | 1 (25.0%) |" in text
