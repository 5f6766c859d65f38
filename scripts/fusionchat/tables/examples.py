"""Answers and judgments of one question by several models, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionchat.mt_bench.answers import judged_turns, read_all_answers
from fusionchat.mt_bench.questions import Question
from fusionchat.mt_bench.record_fields import chosen_judge
from fusionchat.mt_bench.scores import read_judgments

CHOICE = 0
REPEAT = 0


@dataclass(frozen=True)
class Answered:
    """One model's answer to one turn, with the judgment's text and score (NaN for missing)."""

    text: str
    judgment: str
    score: float


class Examples:
    """The first answer of each model to each question and its first judgment by one judge."""

    def __init__(
        self,
        questions: Sequence[Question],
        answers: Sequence[Path],
        judgments: Sequence[Path],
        judge: str | None,
    ):
        self._answers = {
            (model, number): judged_turns(record["choices"][CHOICE])
            for model, records in read_all_answers(answers, questions).items()
            for number, record in records.items()
        }
        made = {judgment.key: judgment for judgment in read_judgments(judgments)}
        chosen = chosen_judge((key[1] for key in made), judge, "--judgments") if made else ""
        self._judgments = {
            (model, question, turn): judgment
            for (model, name, repeat, choice, question, turn), judgment in made.items()
            if (name, repeat, choice) == (chosen, REPEAT, CHOICE)
        }

    def models(self) -> list[str]:
        """The models that have answers."""
        return list(dict.fromkeys(model for model, _ in self._answers))

    def ratings(self, models: Sequence[str], question: Question) -> list[float]:
        """Each model's mean rating of a question over its turns; NaN where one is missing."""
        turns = [self.answered(model, question) for model in models]
        return [sum(turn.score for turn in answer) / len(answer) for answer in turns]

    def answered(self, model: str, question: Question) -> list[Answered]:
        """The model's turns to a question; a missing answer or judgment is an empty text."""
        texts = self._answers.get((model, question.question_id), ("",) * len(question.turns))
        result = []
        for turn, text in enumerate(texts, 1):
            judgment = self._judgments.get((model, question.question_id, turn))
            said = str(judgment.record.get("judgment", "")) if judgment else ""
            score = judgment.score if judgment else None
            result.append(Answered(text, said, float("nan") if score is None else score))
        return result
