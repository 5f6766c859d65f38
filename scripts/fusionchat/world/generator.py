"""The world of one seed, and disjoint streams of exercises drawn from it."""

import hashlib
from collections.abc import Callable, Mapping
from random import Random

from fusionchat.categories import CATEGORIES
from fusionchat.errors import UserError
from fusionchat.world.exercise import Exercise
from fusionchat.world.facts import LANDS, SUBSTANCES, Facts
from fusionchat.world.language import Personas, draw_writing
from fusionchat.world.logic import draw_coding, draw_math, draw_reasoning
from fusionchat.world.records import draw_extraction

SHARES = {"pretraining": 0.55, "mixture": 0.15, "questions": 0.15, "validation": 0.15}
"""The purposes of exercises, and the share of all first prompts that belongs to each."""

PATIENCE = 10_000
"""Draws in a row without a new exercise after which a category counts as exhausted."""


class World:
    """All facts and exercises of one seed.

    A first prompt belongs to exactly one purpose, by its hash, so exercises for different
    purposes are disjoint by construction whatever their numbers.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.draws: dict[str, Callable[[Random], Exercise]] = {
            "writing": draw_writing,
            "roleplay": Personas(self.stream("personas")).draw,
            "reasoning": draw_reasoning,
            "math": draw_math,
            "coding": draw_coding,
            "extraction": draw_extraction,
            "stem": Facts("stem", "ium", SUBSTANCES, self.stream("stem")).draw,
            "humanities": Facts("humanities", "land", LANDS, self.stream("humanities")).draw,
        }

    def stream(self, name: str) -> Random:
        """The random numbers of one purpose, always the same ones."""
        return Random(f"world {self.seed} {name}")

    def purpose(self, first_prompt: str) -> str:
        """The one purpose for which exercises with this first prompt may be used."""
        digest = hashlib.sha256(f"{self.seed} {first_prompt}".encode()).digest()
        position = int.from_bytes(digest[:8], "big") / 2**64
        for name, share in SHARES.items():
            position -= share
            if position < 0:
                return name
        return next(reversed(SHARES))

    def draw(self, category: str, purpose: str, random: Random) -> Exercise:
        """One exercise of a category for a purpose."""
        for _ in range(PATIENCE):
            exercise = self.draws[category](random)
            if self.purpose(exercise.prompts[0]) == purpose:
                return exercise
        raise UserError(f"no {category} exercise of world {self.seed} is for {purpose}")

    def distinct(self, category: str, purpose: str, count: int) -> list[Exercise]:
        """`count` exercises of a category with different prompts, always the same ones."""
        random = self.stream(f"{purpose} {category}")
        by_prompts: dict[tuple[str, str], Exercise] = {}
        failures = 0
        while len(by_prompts) < count:
            exercise = self.draw(category, purpose, random)
            failures = failures + 1 if exercise.prompts in by_prompts else 0
            if failures == PATIENCE:
                raise UserError(
                    f"world {self.seed} has only {len(by_prompts)} {category} exercises for "
                    f"{purpose}, not {count}; ask for fewer"
                )
            by_prompts.setdefault(exercise.prompts, exercise)
        return list(by_prompts.values())

    def balanced(self, purpose: str, count: int) -> list[Exercise]:
        """`count` distinct exercises, as equally many of each category as possible, shuffled."""
        exercises = []
        for position, category in enumerate(CATEGORIES):
            share = count // len(CATEGORIES) + (position < count % len(CATEGORIES))
            exercises += self.distinct(category, purpose, share)
        self.stream(f"{purpose} order").shuffle(exercises)
        return exercises

    def weighted(self, name: str, weights: Mapping[str, float], count: int) -> list[Exercise]:
        """`count` pretraining exercises, repeats allowed, categories drawn by weight."""
        random = self.stream(f"pretraining {name}")
        categories = random.choices(list(weights), list(weights.values()), k=count)
        return [self.draw(category, "pretraining", random) for category in categories]
