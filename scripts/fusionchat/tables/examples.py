"""Answers and judgments of one question by several models, side by side."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusionchat.errors import UserError
from fusionchat.files import read_jsonl
from fusionchat.mt_bench.questions import Question

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

    def __init__(self, answers: Sequence[Path], judgments: Sequence[Path], judge: str | None):
        self._answers = {
            (record["model_id"], record["question_id"]): record["choices"][CHOICE]["turns"]
            for path in answers
            for record in _checked(path, ("model_id", "question_id", "choices"))
        }
        self._judgments = {
            (record["model"], record["question_id"], record["turn"]): record
            for path in judgments
            for record in _checked(path, ("model", "question_id", "turn", "judge", "score"))
            if judge in (None, record["judge"][0])
            and (record.get("choice", 0), record.get("repeat", 0)) == (CHOICE, REPEAT)
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
        texts = self._answers.get((model, question.question_id), [""] * len(question.turns))
        result = []
        for turn, text in enumerate(texts, 1):
            record = self._judgments.get((model, question.question_id, turn), {})
            score = float(record.get("score", -1))
            missing = score < 0
            judgment = str(record.get("judgment", ""))
            result.append(Answered(str(text), judgment, float("nan") if missing else score))
        return result


def _checked(path: Path, keys: Iterable[str]) -> list[dict[str, Any]]:
    records = read_jsonl(path)
    for number, record in enumerate(records, 1):
        lacking = [key for key in keys if key not in record]
        if lacking:
            raise UserError(f"{path}, record {number}, lacks {', '.join(lacking)}")
    return records
