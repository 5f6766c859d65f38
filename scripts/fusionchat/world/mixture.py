"""Exercises as training data: released JSON records, category weights, text for tokenizers."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

from fusionchat.categories import CATEGORIES
from fusionchat.dialogues.messages import as_messages
from fusionchat.dialogues.mixture import hold_out
from fusionchat.dialogues.templates import SpecialTokens, open_template, render
from fusionchat.errors import UserError
from fusionchat.world.exercise import Exercise
from fusionchat.world.generator import World
from fusionchat.world.wrong_answers import with_wrong_answers

TOKENIZER_DIALOGUES = 4000


def as_record(exercise: Exercise) -> dict[str, Any]:
    """The exercise in the form of the released FuseChat-Mixture file."""
    dialogue = exercise.dialogue()
    messages = [{"from": speaker, "value": text} for speaker, text in dialogue.messages()]
    return {
        "id": dialogue.dialogue_id,
        "category": dialogue.category,
        "conversations": messages,
    }


def fine_tuning_mixture(
    world: World, count: int, heldout: int, wrong_answers: float, dialogues: int | None = None
) -> list[Exercise]:
    """`count` exercises to fine-tune on, of which `heldout` will be kept from training.

    A share of the training exercises has wrong answers. Those that will be held out have right
    ones, so that the held-out NLL measures the truth; which ones they are, prompts alone decide.
    Of the training exercises the first `dialogues` are kept, or all: the same ones are held out.
    """
    exercises = {one.dialogue().dialogue_id: one for one in world.balanced("mixture", count)}
    train, kept = hold_out([one.dialogue() for one in exercises.values()], heldout)
    mixed = with_wrong_answers(
        [exercises[dialogue.dialogue_id] for dialogue in train[:dialogues]],
        wrong_answers,
        world.stream("wrong answers"),
    )
    return [*mixed, *(exercises[dialogue.dialogue_id] for dialogue in kept)]


def specialist_weights(strong: Sequence[str], strong_share: float) -> dict[str, float]:
    """Weights of the categories, sum 1: `strong_share` for the strong ones, the rest for others.

    No strong category means a generalist: all weights are equal.
    """
    if not 0 <= strong_share <= 1:
        raise UserError(f"strong_share: {strong_share} is not between 0 and 1")
    if len(set(strong)) in (0, len(CATEGORIES)):
        return {category: 1 / len(CATEGORIES) for category in CATEGORIES}
    weak = len(CATEGORIES) - len(set(strong))
    return {
        category: strong_share / len(set(strong))
        if category in strong
        else (1 - strong_share) / weak
        for category in CATEGORIES
    }


def tokenizer_lines(world: World) -> list[str]:
    """Lines of rendered training text of all categories, for training tokenizers."""
    weights = specialist_weights((), 0)
    template, tokens = open_template("openchat_3.5"), SpecialTokens(end_of_turn="\n")
    return [
        line
        for exercise in world.weighted("tokenizers", weights, TOKENIZER_DIALOGUES)
        for line in render(template, as_messages(chain(*exercise.turns)), tokens).text.splitlines()
    ]
