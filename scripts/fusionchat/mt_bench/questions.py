"""MT-Bench's questions and the facts of its protocol that go with a category."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusionchat.errors import UserError
from fusionchat.files import read_numbered_jsonl
from fusionchat.mt_bench.record_fields import check_names, check_numbers

# Sampling temperature of each category, as in MT-Bench's answer generation; 0 is greedy.
TEMPERATURES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}
OTHER_TEMPERATURE = 0.7

# The judge sees a reference answer for these categories only.
REFERENCE_CATEGORIES = frozenset({"math", "reasoning", "coding"})


@dataclass(frozen=True)
class Question:
    """A question of one or two turns; `rules` holds a checkable rule a turn if there are any."""

    question_id: int
    category: str
    turns: tuple[str, ...]
    rules: tuple[Any, ...] = ()

    @property
    def temperature(self) -> float:
        """The sampling temperature of this question's category."""
        return TEMPERATURES.get(self.category, OTHER_TEMPERATURE)

    @property
    def needs_reference(self) -> bool:
        """Whether the judge compares with a reference answer."""
        return self.category in REFERENCE_CATEGORIES


def read_questions(path: str | Path) -> list[Question]:
    """Read FastChat's question records; a malformed or repeated question is a `UserError`."""
    questions: dict[int, Question] = {}
    for number, record in read_numbered_jsonl(path):
        question = _question(record, f"{path}, line {number}")
        if question.question_id in questions:
            raise UserError(
                f"{path}, line {number}: question_id {question.question_id} appears twice"
            )
        questions[question.question_id] = question
    if not questions:
        raise UserError(f"{path}: holds no questions")
    return list(questions.values())


def _question(record: dict[str, Any], where: str) -> Question:
    for key in ("question_id", "category", "turns"):
        if key not in record:
            raise UserError(f"{where}: key {key} is missing")
    check_numbers(record, ("question_id",), where)
    check_names(record, ("category",), where)
    turns = record["turns"]
    if not isinstance(turns, list) or not turns or not all(isinstance(t, str) for t in turns):
        raise UserError(f"{where}: turns is not a list of texts")
    rules = tuple(record.get("rules") or ())
    if rules and len(rules) != len(turns):
        raise UserError(f"{where}: {len(rules)} rules for {len(turns)} turns")
    return Question(record["question_id"], record["category"], tuple(turns), rules)
