"""AlpacaEval's published files at locked commits, and the questions that are made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fusionchat.errors import UserError
from fusionchat.files import read_json
from fusionchat.mt_bench.questions import Question
from fusionchat.readers.csv import read_csv

CODE = "https://raw.githubusercontent.com/tatsu-lab/alpaca_eval/cd543a149df89434d8a54582c0151c0b945c3d20"
HUB = (
    "https://huggingface.co/datasets/tatsu-lab/alpaca_eval/resolve/"
    "2edc6fad8be6b14ea7230aabfd08188da6b8b814"
)
# Our name: where it is published, and its sha256 there.
FILES = {
    "prompt.txt": (
        f"{CODE}/src/alpaca_eval/evaluators_configs/alpaca_eval_clf_gpt4_turbo/alpaca_eval_clf.txt",
        "784227e6dc2832fc08c43d2c8ea3a308e7523780187a1aaad2f85e30bac85f62",
    ),
    "outputs.json": (
        f"{CODE}/results/gpt4_1106_preview/model_outputs.json",
        "83db546b872ddebee8965fd05fa48461ee3c32bc695c62fb57f2d214ff741ec4",
    ),
    "gamed.csv": (
        f"{HUB}/df_gamed.csv",
        "97aeec3f1c7de6dee6fd31fe66f1702623f4614c3efe1c6fc5f4927cd5fd674d",
    ),
}
QUESTIONS = "question.jsonl"


@dataclass(frozen=True)
class Gamed:
    """Judgments of the baseline told to be verbose or concise, and each question's difficulty.

    `length` is tanh of the standardised difference in length, `preference` in [0, 1].
    """

    length: np.ndarray
    difficulty: np.ndarray
    preference: np.ndarray
    of_question: dict[int, float]


def read_outputs(path: Path) -> list[dict[str, Any]]:
    """The baseline's records: `instruction`, `output`, `generator`, `dataset` of each question."""
    records = read_json(path)
    if not isinstance(records, list) or not records:
        raise UserError(f"{path}: is not a list of outputs")
    for number, record in enumerate(records):
        texts = ("instruction", "output", "generator")
        if not isinstance(record, dict) or not all(isinstance(record.get(t), str) for t in texts):
            raise UserError(f"{path}: entry {number} lacks instruction, output or generator")
    if len({record["instruction"] for record in records}) < len(records):
        raise UserError(f"{path}: an instruction appears twice")
    return records


def question_records(outputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """FastChat's question records of one turn; a question's number is its place in the outputs."""
    return [
        {
            "question_id": number,
            "category": str(record.get("dataset", "alpaca_eval")),
            "turns": [record["instruction"]],
        }
        for number, record in enumerate(outputs)
    ]


def check_questions(questions: Sequence[Question], outputs: Sequence[dict[str, Any]]) -> None:
    """Raise a `UserError` where answers were given to other questions than the baseline's."""
    for question in questions:
        number = question.question_id
        if number >= len(outputs) or outputs[number]["instruction"] != question.turns[0]:
            raise UserError(f"question {number} is not that of the baseline's outputs")


def read_gamed(path: Path) -> Gamed:
    """Read the published df_gamed.csv; rows without a preference give their difficulty alone."""

    def parse(row: dict[str, str]) -> tuple[int, float, list[float]]:
        difficulty, preference = row["instruction_difficulty"], row["preference"]
        fitted = (row["std_delta_len"], difficulty, preference) if preference else ()
        return int(row["index"]), float(difficulty), [float(number) for number in fitted]

    rows = read_csv(path, parse, "AlpacaEval's df_gamed.csv")
    kept = np.array([fitted for _, _, fitted in rows if fitted])
    if not len(kept) or not np.isfinite(kept).all():
        raise UserError(f"{path}: holds no preferences, or numbers that are not finite")
    length, difficulty, preference = kept.T
    known = {index: difficulty for index, difficulty, _ in rows}
    return Gamed(np.tanh(length), difficulty, preference, known)
