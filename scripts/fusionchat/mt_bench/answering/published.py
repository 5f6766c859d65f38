"""Answers that somebody else has published in FastChat's format, checked and renamed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fusionchat.mt_bench.answers import read_answers
from fusionchat.mt_bench.questions import Question


def published_answers(
    path: Path, model_id: str, questions: Sequence[Question]
) -> list[dict[str, Any]]:
    """The records of a published answer file in question order, under `model_id`.

    A question without an answer is a `UserError`; answers to other questions are left out.
    """
    answers = read_answers(path, questions)
    return [{**answers[q.question_id], "model_id": model_id} for q in questions]
