"""One two-turn exchange of the world, with the rules that its answers fulfil."""

from dataclasses import dataclass
from random import Random
from typing import Any

from fusionchat.dialogues.dialogue import Dialogue, stable_id
from fusionchat.world.rules import Rule

WORDINGS = ("{}.", "It is {}.", "That is {}.", "I would say {}.")
"""Equally good ways to give a short answer."""


def worded(answer: object, random: Random) -> str:
    """The answer in one of its wordings.

    As in real chat data a reference answer is one of many good ones: a small mixture shows few of
    them, and a source model's distribution tells what it has seen of the others.
    """
    return random.choice(WORDINGS).format(answer)


@dataclass(frozen=True)
class Exercise:
    """Two (prompt, reference answer) turns, the second about the first, and a rule for each."""

    category: str
    turns: tuple[tuple[str, str], tuple[str, str]]
    rules: tuple[Rule, Rule]

    @property
    def prompts(self) -> tuple[str, str]:
        """What the user says in both turns: this identifies an exercise."""
        return self.turns[0][0], self.turns[1][0]

    def dialogue(self) -> Dialogue:
        """The exercise as a dialogue to learn from."""
        return Dialogue(stable_id(self.turns), self.turns, self.category)

    def question(self, question_id: int) -> dict[str, Any]:
        """The exercise as a FastChat question record, with one rule a turn beside it."""
        return {
            "question_id": question_id,
            "category": self.category,
            "turns": [prompt for prompt, _ in self.turns],
            "reference": [answer for _, answer in self.turns],
            "rules": list(self.rules),
        }
