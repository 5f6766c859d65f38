import pytest

from fusionchat.errors import UserError
from fusionchat.world.rules import rate

CHOICE = {"kind": "choice", "answer": "Rome", "options": ["Rome", "Oslo", "Bern"]}
NUMBER = {"kind": "number", "answer": 59}
LIST = {"kind": "list", "items": ["cook", "cat"]}
SENTENCE = {"kind": "sentence", "words": ["fox", "lamp"]}
PHRASES = {"kind": "phrases", "phrases": ["Pip", "pirate", "ahoy"]}


@pytest.mark.parametrize(
    ("rule", "answer", "expected"),
    [
        (CHOICE, "Rome.", 10),
        (CHOICE, "It is rome", 10),
        (CHOICE, "Rome or Oslo", 4),
        (CHOICE, "Bern.", 2),
        (CHOICE, "Romeo.", 1),
        (CHOICE, "", 1),
        (NUMBER, "It is 59.", 10),
        (NUMBER, "59 or 60", 5),
        (NUMBER, "It is 58.", 3),
        (NUMBER, "It is 8.", 2),
        (NUMBER, "no idea", 1),
        (LIST, "cook and cat.", 10),
        (LIST, "Cook, cat", 10),
        (LIST, "cat, cook", 1),
        (LIST, "cook, dog", 4),
        (LIST, "cook, cat, dog", 5),
        (SENTENCE, "The fox sees the lamp.", 10),
        (SENTENCE, "the fox sees the lamp", 7),
        (SENTENCE, "The fox sees the sun.", 6),
        (SENTENCE, "The cat sees the sun.", 1),
        (SENTENCE, "The fox. The lamp.", 7),
        (PHRASES, "Ahoy! I am Pip the pirate.", 10),
        (PHRASES, "I am Pip the pirate.", 7),
        (PHRASES, "Hello.", 1),
    ],
)
def test_ratings_give_partial_credit(rule, answer, expected):
    rated, explanation = rate(rule, answer)
    assert rated == expected
    assert explanation.endswith(".")


def test_naming_everything_does_not_pay():
    everything = "fox lamp " * 20
    assert rate(SENTENCE, f"The {everything}.")[0] <= 5


def test_only_the_whole_gets_ten():
    almost = {"kind": "phrases", "phrases": [f"word{i}" for i in range(12)]}
    assert rate(almost, " ".join(almost["phrases"][:-1]))[0] == 9


@pytest.mark.parametrize("rule", [{"kind": "taste"}, {"kind": "choice"}, {}])
def test_a_broken_rule_is_a_clear_error(rule):
    with pytest.raises(UserError, match="rule"):
        rate(rule, "Rome")
