"""Files that FastChat's show_result and qa_browser read."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fusionchat.errors import UserError
from fusionchat.files import write_jsonl
from fusionchat.mt_bench.answers import answer_records
from fusionchat.mt_bench.judging.judge_prompts import prompt_name
from fusionchat.mt_bench.questions import Question
from fusionchat.mt_bench.record_fields import chosen_judge
from fusionchat.mt_bench.scores import read_judgments

FIELDS = ("question_id", "model", "judge", "user_prompt", "judgment", "score", "turn", "tstamp")


def export(
    folder: Path,
    question_file: Path,
    questions: Sequence[Question],
    answer_files: Iterable[Path],
    judgment_files: Iterable[Path],
    *,
    judge: str | None,
    judge_name: str,
    references: Path | None,
    matches: Sequence[dict[str, Any]] = (),
) -> None:
    """Write `folder`/data/mt_bench as FastChat lays it out.

    `judge` picks the judge where the files hold several; its records are renamed to
    `judge_name`, because qa_browser shows the judge gpt-4 only, and keep the true name in
    `judged_by`. `matches` are pairwise records; qa_browser opens their file even without any.
    """
    data = folder / "data" / "mt_bench"
    data.mkdir(parents=True)
    shutil.copyfile(question_file, data / "question.jsonl")
    for path in answer_files:
        _export_answers(path, data / "model_answer")
    records = _judgments(judgment_files)
    chosen = _of_one_judge(records, judge)
    categories = {q.question_id: q for q in questions}
    judged = data / "model_judgment"
    name = file_name(judge_name)
    write_jsonl(judged / f"{name}_single.jsonl", [_rename(r, name, categories) for r in chosen])
    write_jsonl(judged / f"{name}_pair.jsonl", [_rename_match(r, name) for r in matches])
    if references:
        (data / "reference_answer").mkdir()
        shutil.copyfile(references, data / "reference_answer" / f"{name}.jsonl")


def file_name(name: str) -> str:
    """A model's name as FastChat can use it in a file name, e.g. without a slash."""
    return name.replace("/", "_")


def _judgments(paths: Iterable[Path]) -> list[dict[str, Any]]:
    records = []
    for where, _, _, record in read_judgments(paths):
        if lacking := [field for field in FIELDS if field not in record]:
            raise UserError(f"{where}: not a judgment record of FastChat: {lacking[0]} is missing")
        records.append(record)
    return records


def _export_answers(path: Path, folder: Path) -> None:
    records = answer_records(path)
    models = {file_name(record["model_id"]) for record in records}
    if len(models) != 1:
        raise UserError(f"{path}: holds answers of {len(models)} models, one is expected")
    model = models.pop()
    if (folder / f"{model}.jsonl").exists():
        raise UserError(f"{path}: there are answers of {model} already")
    write_jsonl(folder / f"{model}.jsonl", [{**record, "model_id": model} for record in records])


def _of_one_judge(records: list[dict[str, Any]], judge: str | None) -> list[dict[str, Any]]:
    chosen = chosen_judge((record["judge"][0] for record in records), judge, "--judgments")
    return [record for record in records if record["judge"][0] == chosen]


def _rename_match(record: dict[str, Any], judge_name: str) -> dict[str, Any]:
    names = {key: file_name(record[key]) for key in ("model_1", "model_2")}
    judge = [judge_name, *record["judge"][1:]]
    return {**record, **names, "judge": judge, "judged_by": record["judge"][0]}


def _rename(
    record: dict[str, Any], judge_name: str, questions: dict[int, Question]
) -> dict[str, Any]:
    question = questions.get(record["question_id"])
    if question is None:
        raise UserError(f"question {record['question_id']} is not in the questions file")
    changed = {
        **record,
        "model": file_name(record["model"]),
        "judge": [judge_name, prompt_name(question, record["turn"])],
    }
    others = {"judged_by": record["judge"][0]}
    others |= {key: value for key, value in record.items() if key not in FIELDS}
    return {**{field: changed[field] for field in FIELDS}, **others}
