"""MT-Bench's single-answer judge prompts, filled in exactly as FastChat fills them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusionchat.dialogues.messages import chat_messages
from fusionchat.errors import UserError
from fusionchat.files import read_numbered_jsonl, sha256
from fusionchat.mt_bench.endpoint.endpoint import Messages
from fusionchat.mt_bench.judging.judges import Task
from fusionchat.mt_bench.questions import Question
from fusionchat.mt_bench.record_fields import check_numbers

NAMES = ("single-v1", "single-math-v1", "single-v1-multi-turn", "single-math-v1-multi-turn")


def prompt_name(question: Question, turn: int) -> str:
    """The name of FastChat's judge prompt for a question's turn, counted from 1."""
    kind = "math-v1" if question.needs_reference else "v1"
    return f"single-{kind}" + ("-multi-turn" if turn == 2 else "")


@dataclass(frozen=True)
class JudgePrompts:
    """The prompt templates by name, the reference answers by question, their checksums."""

    templates: dict[str, dict[str, Any]]
    references: dict[int, tuple[str, ...]]
    prompts_sha256: str
    references_sha256: str

    def name(self, task: Task) -> str:
        """Which template a task uses: with reference or without, first turn or both turns."""
        return prompt_name(task.question, task.turn)

    def user_prompt(self, task: Task) -> str:
        """The text that shows the judge the question, the answer and the reference."""
        return self.filled(self.name(task), task.question, task.turn, {"answer": task.answers})

    def filled(
        self, name: str, question: Question, turn: int, answers: Mapping[str, Sequence[str]]
    ) -> str:
        """A template with the question, the reference and answers by the name of their field."""
        fields = {}
        if question.needs_reference:
            reference = self.references[question.question_id]
            fields = {f"ref_answer_{i + 1}": text for i, text in enumerate(reference)}
        for field, texts in {"question": question.turns, **answers}.items():
            numbered = {f"{field}_{i + 1}": text for i, text in enumerate(texts)}
            fields |= {field: texts[0]} if turn == 1 else numbered
        try:
            return str(self.templates[name]["prompt_template"].format(**fields))
        except (LookupError, ValueError) as error:
            raise UserError(
                f"judge prompt {name}: its prompt_template cannot be filled in: {error!r}"
            ) from error

    def messages(self, task: Task) -> Messages:
        """The chat messages for the judge: the system's and the user's."""
        return chat_messages(
            self.templates[self.name(task)]["system_prompt"], [self.user_prompt(task)]
        )

    def check(self, questions: Sequence[Question]) -> None:
        """Raise a `UserError` for questions that lack a reference answer or have over two turns."""
        for question in questions:
            if len(question.turns) > 2:
                raise UserError(f"question {question.question_id}: has more than two turns")
            count = len(self.references.get(question.question_id, ()))
            if question.needs_reference and count < len(question.turns):
                raise UserError(
                    f"question {question.question_id} ({question.category}) has no reference "
                    "answer for all its turns; name a complete file with --references"
                )


def read_judge_prompts(
    prompts: Path, references: Path, names: Sequence[str] = NAMES
) -> JudgePrompts:
    """Read these of FastChat's judge_prompts.jsonl, and the reference answers.

    These are FastChat's answer records, or questions that hold their own under `reference`.
    """
    templates = _templates(prompts)
    absent = [name for name in names if name not in templates]
    if absent:
        raise UserError(f"{prompts}: judge prompts {', '.join(absent)} are missing")
    return JudgePrompts(templates, _references(references), sha256(prompts), sha256(references))


def _templates(path: Path) -> dict[str, dict[str, Any]]:
    """The templates of a file by name; of two with one name the last counts, as in FastChat."""
    templates = {}
    for number, record in read_numbered_jsonl(path):
        for field in ("name", "prompt_template", "system_prompt"):
            if not isinstance(record.get(field), str):
                raise UserError(f"{path}, line {number}: not a judge prompt: {field} is no text")
        templates[record["name"]] = record
    return templates


def _references(path: Path) -> dict[int, tuple[str, ...]]:
    """The reference answers of a file by question, a text a turn; some questions have none."""
    references: dict[int, tuple[str, ...]] = {}
    for number, record in read_numbered_jsonl(path):
        where = f"{path}, line {number}"
        if "question_id" not in record:
            raise UserError(f"{where}: not a reference answer: question_id is missing")
        check_numbers(record, ("question_id",), where)
        turns = _reference(record, where)
        if turns is None:
            continue
        if record["question_id"] in references:
            raise UserError(f"{where}: question {record['question_id']} has a reference already")
        references[record["question_id"]] = tuple(turns)
    return references


def _reference(record: Mapping[str, Any], where: str) -> list[str] | None:
    """The texts of FastChat's first choice, or a question's own `reference`."""
    choices = record.get("choices") or [{"turns": record.get("reference")}]
    if not isinstance(choices, list) or not isinstance(choices[0], dict):
        raise UserError(f"{where}: choices is not a list of objects with turns")
    turns = choices[0].get("turns")
    if turns is None:
        return None
    if not isinstance(turns, list) or not all(isinstance(text, str) for text in turns):
        raise UserError(f"{where}: a reference answer is not a list of texts, one a turn")
    return turns
