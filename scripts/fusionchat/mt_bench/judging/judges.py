"""The judges' common interface: what is judged, the verdict, and FastChat's judgment record."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from fusionchat.errors import UserError
from fusionchat.mt_bench.answers import judged_turns, no_answer
from fusionchat.mt_bench.judging.ratings import NO_RATING
from fusionchat.mt_bench.questions import Question


class Shown(Protocol):
    """What a judge is shown in one judgment; `no_answer` says why there is nothing to show."""

    @property
    def repeat(self) -> int:
        """Which of several equal judgments it is."""

    @property
    def no_answer(self) -> str:
        """Empty where there is an answer."""


T = TypeVar("T", bound=Shown)
Showing = TypeVar("Showing", bound=Shown, contravariant=True)


@dataclass(frozen=True, eq=False)
class Task:
    """One judgment to make: a model's answer to one turn (counted from 1) of a question.

    `no_answer` says why there is none, where its endpoint declined the question.
    """

    question: Question
    model: str
    answer_id: str
    choice: int
    answers: tuple[str, ...]
    turn: int
    repeat: int = 0
    no_answer: str = ""


@dataclass(frozen=True)
class Missing:
    """Why there is no rating: in which way, in whose words, and whether it failed on all tries."""

    kind: str
    reason: str
    passing: bool = False


@dataclass(frozen=True)
class Verdict:
    """What a judge says: rating (-1 is none, then `missing` says why), its text, what it saw."""

    rating: float
    judgment: str
    user_prompt: str
    facts: dict[str, Any] = field(default_factory=dict)
    missing: Missing | None = None


class Prompts(Protocol[Showing]):
    """The prompts that show an LLM its tasks, with the checksums of what they are made from."""

    @property
    def prompts_sha256(self) -> str:
        """Of the templates."""

    @property
    def references_sha256(self) -> str:
        """Of what the tasks are compared with."""

    def name(self, task: Showing) -> str:
        """Which template a task uses."""

    def user_prompt(self, task: Showing) -> str:
        """The text that shows the judge the task."""

    def messages(self, task: Showing) -> list[dict[str, str]]:
        """The chat messages for the judge."""


class Judge(Protocol[T]):
    """Anything that rates what it is shown: an answer from 1 to 10, or the first of two, 0 to 1."""

    name: str

    def prompt_name(self, task: T) -> str:
        """Name of the prompt or procedure that is used for this task."""

    def judge_all(self, tasks: Sequence[T]) -> Iterator[tuple[T, Verdict]]:
        """Yield a verdict for every task, in any order."""

    def status(self) -> str:
        """What the progress bar shows beside the count, e.g. the cost so far."""

    def close(self) -> None:
        """Give back what the judge holds."""


@dataclass
class RuleJudge:
    """A program that checks an answer against the rule of its question's turn."""

    name: str = "rule"

    def prompt_name(self, task: Task) -> str:
        """Always the same procedure."""
        return "rule-v1"

    def status(self) -> str:
        """Nothing: rules cost nothing."""
        return ""

    def close(self) -> None:
        """Nothing is held."""

    def judge_all(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Verdict]]:
        """Yield a verdict for every task, in order."""
        from fusionchat.world.rules import rate

        for task in tasks:
            if not task.question.rules:
                raise UserError(
                    f"question {task.question.question_id} has no rules; use another judge"
                )
            rule, answer = task.question.rules[task.turn - 1], task.answers[task.turn - 1]
            rating, explanation = rate(rule, answer)
            asked, check = task.question.turns[task.turn - 1], json.dumps(rule, sort_keys=True)
            prompt = f"[Question]\n{asked}\n\n[Rule]\n{check}\n\n[Answer]\n{answer}"
            yield task, Verdict(rating, f"{explanation} Rating: [[{rating}]]", prompt)


def make_tasks(
    questions: Sequence[Question], answers: dict[int, dict[str, Any]], repeats: int = 1
) -> list[Task]:
    """Every turn of every choice of every question, `repeats` times, in question order."""
    return [
        Task(
            question=question,
            model=record["model_id"],
            answer_id=str(record.get("answer_id", "")),
            choice=choice["index"],
            answers=judged_turns(choice),
            turn=turn,
            repeat=repeat,
            no_answer=no_answer(choice, turn),
        )
        for question in questions
        for record in [answers[question.question_id]]
        for choice in record["choices"]
        for turn in range(1, len(question.turns) + 1)
        for repeat in range(repeats)
    ]


def judge_tasks(judge: Judge[T], tasks: Sequence[T]) -> Iterator[tuple[T, Verdict]]:
    """Yield a verdict for every task, in any order; the judge sees those that have an answer."""
    for task in tasks:
        if task.no_answer:
            missing = Missing("no answer", task.no_answer)
            yield task, Verdict(NO_RATING, "", "", missing_facts(missing), missing)
    yield from judge.judge_all([task for task in tasks if not task.no_answer])


def missing_facts(missing: Missing) -> dict[str, str]:
    """The fields of a record that say why a rating is missing."""
    return {"missing": missing.kind, "refused": missing.reason}


def judgment_record(judge: Judge[Task], task: Task, verdict: Verdict) -> dict[str, Any]:
    """FastChat's judgment record (score -1 = missing), then what it has no field for.

    Its time is 0, so that the same judgments are the same bytes; the store knows when they came.
    """
    return {
        "question_id": task.question.question_id,
        "model": task.model,
        "judge": [judge.name, judge.prompt_name(task)],
        "user_prompt": verdict.user_prompt,
        "judgment": verdict.judgment,
        "score": verdict.rating,
        "turn": task.turn,
        "tstamp": 0.0,
        "choice": task.choice,
        "repeat": task.repeat,
        "answer_id": task.answer_id,
        **verdict.facts,
    }
