"""Imperfect training data: some dialogues get the answers of others, as real mixtures have them."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from fusionchat.world.exercise import Exercise
from fusionchat.world.rules import rate


def with_wrong_answers(
    exercises: Sequence[Exercise], share: float, random: Random
) -> list[Exercise]:
    """The exercises in their order, a share of them with the answers of others of their category.

    Both answers of an exercise move together, and both are wrong where they arrive, by the rules.
    Each category loses the same share, up to one exercise that has no other to exchange with; all
    answers taken together stay the same. Seeded alike, the exercises that a larger share spoils
    contain those of a smaller one.
    """
    places: dict[str, list[int]] = {}
    for place, exercise in enumerate(exercises):
        places.setdefault(exercise.category, []).append(place)
    orders = {name: random.sample(members, len(members)) for name, members in places.items()}
    result, seen, spoilt = list(exercises), 0, 0
    for order in orders.values():
        seen += len(order)
        wrong = min(round(share * seen) - spoilt, len(order))
        wrong = 0 if wrong == 1 else wrong  # one has none to exchange with; the next make up for it
        spoilt += wrong
        exchanged = _exchanged([exercises[place] for place in order[:wrong]], random)
        for place, exercise in zip(order, exchanged, strict=False):
            result[place] = exercise
    return result


def _exchanged(exercises: Sequence[Exercise], random: Random) -> list[Exercise]:
    """The exercises with their answers in another order, in which all are wrong.

    Where an answer of a random order happens to be right, it changes places with another that mends
    this; a handful of exercises may have no such other, and keeps it.
    """
    donors = random.sample(exercises, len(exercises))
    for here, exercise in enumerate(exercises):
        if _wrong(exercise, donors[here]):
            continue
        for there in random.sample(range(len(exercises)), len(exercises)):
            if _wrong(exercise, donors[there]) and _wrong(exercises[there], donors[here]):
                donors[here], donors[there] = donors[there], donors[here]
                break
    return [
        _answered_by(exercise, donor) for exercise, donor in zip(exercises, donors, strict=True)
    ]


def _answered_by(exercise: Exercise, donor: Exercise) -> Exercise:
    (first, second), (one, two) = exercise.prompts, (answer for _, answer in donor.turns)
    return replace(exercise, turns=((first, one), (second, two)))


def _wrong(exercise: Exercise, donor: Exercise) -> bool:
    """Whether the donor's answers are both wrong by the exercise's rules."""
    answers = (answer for _, answer in donor.turns)
    return all(
        rate(rule, answer)[0] < 10 for rule, answer in zip(exercise.rules, answers, strict=True)
    )
