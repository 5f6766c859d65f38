"""Rating an answer of the scale model's benchmark by a rule, 1 to 10, in place of an LLM judge.

A rule is a JSON object; `kind` says which check it asks for:

- `{"kind": "choice", "answer": "Rome", "options": ["Rome", "Paris"]}`: names the answer and no
  other option.
- `{"kind": "number", "answer": 59}`: states this number and no other.
- `{"kind": "list", "items": ["cook", "cat"]}`: these words in this order and no others.
- `{"kind": "sentence", "words": ["fox", "lamp"]}`: one short sentence that uses all words.
- `{"kind": "phrases", "phrases": ["Pip", "arr"]}`: a short answer with all phrases.
"""

import re
from collections.abc import Callable
from typing import Any

from fusionchat.errors import UserError

Rule = dict[str, Any]

MAX_WORDS = 16
"""More words than this and an answer fulfils a rule at most by half: it may not try everything."""

LIST_WORDS = frozenset({"and", "the", "it", "is", "that", "i", "would", "say"})
"""Words that may stand between the items of a list without being items."""


def rate(rule: Rule, answer: str) -> tuple[int, str]:
    """Rate one answer by one rule: (10 = fulfilled entirely ... 1 = not at all, explanation).

    A rule of an unknown kind or without what its kind needs is a `UserError`.
    """
    try:
        check = CHECKS[rule["kind"]]
        share, explanation = check(rule, answer)
    except KeyError as error:
        known = ", ".join(sorted(CHECKS))
        raise UserError(f"rule {rule}: {error} is missing or not one of {known}") from error
    if len(words(answer)) > MAX_WORDS:
        share, explanation = share / 2, f"{explanation} The answer is longer than needed."
    return rating(share), explanation


def rating(share: float) -> int:
    """The rating of a share of fulfilment in [0, 1]; only what is fulfilled entirely gets 10."""
    return 1 + int(9 * share + 1e-9)


def words(text: str) -> list[str]:
    """The words and numbers of a text, in lower case, without punctuation."""
    return re.findall(r"[^\W_]+", text.lower())


def mentions(text: str, phrase: str) -> bool:
    """Whether the phrase occurs in the text as whole words, whatever the case."""
    return f" {' '.join(words(phrase))} " in f" {' '.join(words(text))} "


def check_choice(rule: Rule, answer: str) -> tuple[float, str]:
    """Full for the answer alone, little for the answer among others or for another option."""
    expected = rule["answer"]
    others = [
        option for option in rule["options"] if option != expected and mentions(answer, option)
    ]
    if mentions(answer, expected):
        if not others:
            return 1.0, f"The answer is {expected}, which is right."
        return 0.4, f"The answer names {expected}, but also {', '.join(others)}."
    if others:
        return 0.12, f"The answer is {', '.join(others)}; right is {expected}."
    return 0.0, f"The answer does not name any of the options; right is {expected}."


def check_number(rule: Rule, answer: str) -> tuple[float, str]:
    """Full for the number alone, half for it among others, up to 0.4 for digits in place."""
    expected = str(rule["answer"])
    numbers = re.findall(r"\d+", answer)
    if not numbers:
        return 0.0, f"The answer states no number; right is {expected}."
    if expected in numbers:
        if set(numbers) == {expected}:
            return 1.0, f"The answer is {expected}, which is right."
        return 0.5, f"The answer states {expected}, but other numbers too."
    last = numbers[-1].rjust(len(expected))[-len(expected) :]
    right = sum(a == b for a, b in zip(last, expected, strict=True))
    share = 0.12 + 0.28 * right / len(expected)
    return share, f"The answer is {numbers[-1]}; right is {expected}."


def check_list(rule: Rule, answer: str) -> tuple[float, str]:
    """The share of items in their place; items too many count as wrong ones."""
    expected = [item.lower() for item in rule["items"]]
    listed = [word for word in words(answer) if word in expected or word not in LIST_WORDS]
    right = sum(a == b for a, b in zip(listed, expected, strict=False))
    total = max(len(listed), len(expected))
    if right == total:
        return 1.0, f"All {total} items are right and in order."
    return 0.8 * right / total, f"{right} of {total} items are right; right is {expected}."


def check_sentence(rule: Rule, answer: str) -> tuple[float, str]:
    """A quarter for one well-formed sentence (capital, one full stop), the rest for the words."""
    share, missing = _share_of_phrases(rule["words"], answer)
    text = answer.strip()
    well_formed = bool(re.fullmatch(r"[A-Z][^.!?\n]* [^.!?\n]*[.!?]", text))
    if share == 1.0 and well_formed:
        return 1.0, "The sentence is well formed and uses all words."
    faults = [f"lacks {', '.join(missing)}"] if missing else []
    faults += [] if well_formed else ["is not one sentence with a capital letter and a full stop"]
    return 0.75 * share + 0.25 * (well_formed and share > 0), f"The text {' and '.join(faults)}."


def check_phrases(rule: Rule, answer: str) -> tuple[float, str]:
    """The share of the phrases that the answer has."""
    share, missing = _share_of_phrases(rule["phrases"], answer)
    if not missing:
        return 1.0, "The answer has all that it should."
    return share, f"The answer lacks {', '.join(missing)}."


def _share_of_phrases(phrases: list[str], answer: str) -> tuple[float, list[str]]:
    missing = [phrase for phrase in phrases if not mentions(answer, phrase)]
    return 1 - len(missing) / len(phrases), missing


CHECKS: dict[str, Callable[[Rule, str], tuple[float, str]]] = {
    "choice": check_choice,
    "number": check_number,
    "list": check_list,
    "sentence": check_sentence,
    "phrases": check_phrases,
}
