"""Answer records in FastChat's format, and the journal from which a killed run goes on."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusionchat.errors import UserError
from fusionchat.files import read_numbered_jsonl, write_jsonl
from fusionchat.mt_bench.questions import Question
from fusionchat.mt_bench.record_fields import check_names, check_numbers, is_number
from fusionchat.mt_bench.thoughts import split_thoughts


@dataclass(frozen=True)
class Turn:
    """One answered turn: text, hash of the rendered prompt, tokens generated, why it ended.

    `thoughts` is what the model thought before it answered. `declined` says why there is no answer,
    where an endpoint would give none.
    """

    text: str
    prompt_sha256: str
    tokens: int
    finish: str
    thoughts: str = ""
    declined: str = ""


def text_sha256(text: str) -> str:
    """Checksum of a text, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def answer_record(
    model_id: str, question: Question, choices: Sequence[Sequence[Turn]]
) -> dict[str, Any]:
    """FastChat's answer record with prompt hashes, lengths and endings beside the turns.

    Thoughts and reasons for missing answers are fields of their own, where there are any.
    `answer_id` is a hash of what was answered and `tstamp` is 0, so that equal work gives equal
    bytes.
    """
    listed = [_choice(index, turns) for index, turns in enumerate(choices)]
    content = json.dumps([model_id, question.question_id, listed], sort_keys=True)
    return {
        "question_id": question.question_id,
        "answer_id": text_sha256(content)[:22],
        "model_id": model_id,
        "choices": listed,
        "tstamp": 0.0,
    }


def _choice(index: int, turns: Sequence[Turn]) -> dict[str, Any]:
    choice: dict[str, Any] = {
        "index": index,
        "turns": [turn.text for turn in turns],
        "prompt_sha256": [turn.prompt_sha256 for turn in turns],
        "tokens": [turn.tokens for turn in turns],
        "finish": [turn.finish for turn in turns],
    }
    for name in ("thoughts", "declined"):
        if any(texts := [getattr(turn, name) for turn in turns]):
            choice[name] = texts
    return choice


def judged_turns(choice: Mapping[str, Any]) -> tuple[str, ...]:
    """The turns of a choice as a judge sees them: without thoughts, and fit to be sent."""
    turns = choice["turns"]
    if "thoughts" not in choice:
        turns = [split_thoughts(text)[1] for text in turns]
    return tuple(text.encode("utf-8", "replace").decode() for text in turns)


def no_answer(choice: Mapping[str, Any], turn: int) -> str:
    """Why the turn, or an earlier one without which it could not be asked, has no answer."""
    return next(filter(None, (choice.get("declined") or ())[:turn]), "")


def clean_answer(text: str, stop_strings: Iterable[str], special_tokens: Iterable[str]) -> str:
    """Cut at the first stop string and remove special tokens, as FastChat does, and strip."""
    cuts = [at for at in (text.find(stop) for stop in stop_strings) if at > 0]
    text = text[: min(cuts)] if cuts else text
    for token in special_tokens:
        text = text.replace(token, "")
    return text.strip()


def special_token_texts(tokenizer: Any) -> list[str]:
    """The spellings of a tokenizer's special tokens."""
    texts: list[str] = []
    for value in tokenizer.special_tokens_map.values():
        texts.extend(str(v) for v in (value if isinstance(value, list) else [value]))
    return texts


def answer_records(path: str | Path) -> list[dict[str, Any]]:
    """The records of an answer file; a file of another kind is a `UserError`."""
    places: dict[Any, int] = {}
    records = read_numbered_jsonl(path, half_surrogates=True)
    for number, record in records:
        if not {"question_id", "model_id", "choices"} <= record.keys():
            raise UserError(
                f"{path}, line {number}: not answer records of FastChat (question_id, model_id, "
                "choices)"
            )
        question = record["question_id"]
        check_numbers(record, ("question_id",), f"{path}, line {number}")
        check_names(record, ("model_id",), f"{path}, line {number}")
        if record["model_id"] != records[0][1]["model_id"]:
            raise UserError(
                f"{path}, line {number}: model_id is {record['model_id']!r}, but "
                f"{records[0][1]['model_id']!r} before; give each model a file"
            )
        if question in places:
            raise UserError(
                f"{path}, line {number}: question {question} is answered twice, first in line "
                f"{places[question]}"
            )
        places[question] = number
    return [record for _, record in records]


def read_answers(path: str | Path, questions: Sequence[Question]) -> dict[int, dict[str, Any]]:
    """Answer records by question; every question must be answered in all its turns."""
    answers = {record["question_id"]: record for record in answer_records(path)}
    for question in questions:
        record = answers.get(question.question_id)
        if record is None:
            raise UserError(f"{path}: question {question.question_id} has no answer")
        choices = record["choices"] if isinstance(record["choices"], list) else []
        if not choices or not all(_is_complete(choice, len(question.turns)) for choice in choices):
            raise UserError(
                f"{path}: question {question.question_id} lacks a turn; choices are objects of an "
                "index and the texts of all turns"
            )
        if len({choice["index"] for choice in choices}) < len(choices):
            raise UserError(f"{path}: question {question.question_id} has an index of choice twice")
    return answers


def read_all_answers(
    paths: Iterable[Path], questions: Sequence[Question]
) -> dict[str, dict[int, dict[str, Any]]]:
    """Answer records by model and question, of files that hold one model each."""
    answers: dict[str, dict[int, dict[str, Any]]] = {}
    for path in paths:
        records = read_answers(path, questions)
        model = str(next(iter(records.values()))["model_id"])
        if model in answers:
            raise UserError(f"{path}: there are answers of {model} already; give each model a file")
        answers[model] = records
    return answers


def _is_complete(choice: Any, turns: int) -> bool:
    """Whether a choice holds its index and texts for so many turns."""
    if not isinstance(choice, dict):
        return False
    index, texts, declined = choice.get("index"), choice.get("turns"), choice.get("declined", [])
    if not (isinstance(texts, list) and isinstance(declined, list) and len(texts) >= turns):
        return False
    return is_number(index) and all(isinstance(text, str) for text in texts + declined)


def length_statistics(records: Iterable[dict[str, Any]]) -> str:
    """One line on answer lengths: mean and largest number of tokens, and how many were cut off."""
    choices = [choice for record in records for choice in record["choices"]]
    tokens = [n for choice in choices for n in choice.get("tokens", ())]
    ends = [end for choice in choices for end in choice.get("finish", ())]
    if not tokens:
        return f"{len(choices)} answers of unknown length"
    cut = sum(end in ("length", "context") for end in ends)
    return (
        f"{len(tokens)} turns, {sum(tokens) / len(tokens):.1f} tokens a turn on average, "
        f"{max(tokens)} at most, {cut} cut off at the limit"
    )


class Journal:
    """Finished answers of a run, appended durably beside the output until that is complete.

    A journal with another `header` belongs to another run (model, questions or options have
    changed) and is started afresh.
    """

    def __init__(self, output: Path, header: dict[str, Any]) -> None:
        self.path = output.with_name(f".{output.name}.journal")
        self.records: dict[int, dict[str, Any]] = {}
        output.parent.mkdir(parents=True, exist_ok=True)
        lines = _whole_lines(self.path)
        fresh = not lines or lines[0] != header
        if not fresh:
            self.records = {record["question_id"]: record for record in lines[1:]}
        write_jsonl(self.path, [header, *self.records.values()])
        self._stream = self.path.open("a", encoding="utf-8")

    def append(self, records: Iterable[dict[str, Any]]) -> None:
        """Write records and wait until they are on the disk."""
        for record in records:
            self._stream.write(json.dumps(record) + "\n")
            self.records[record["question_id"]] = record
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def remove(self) -> None:
        """Forget the journal, once the output is complete."""
        self._stream.close()
        self.path.unlink(missing_ok=True)


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file up to the first torn one; `read_jsonl` would refuse the file."""
    lines = []
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            lines.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            break
    return lines
