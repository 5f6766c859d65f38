"""The paper's case study: one question, several models, ratings and judgments side by side."""

import html
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from fusionchat.errors import UserError
from fusionchat.files import atomic_file
from fusionchat.mt_bench.questions import Question
from fusionchat.readers.csv import read_csv
from fusionchat.scores.rows import Row
from fusionchat.tables.examples import Answered
from fusionchat.tables.table import Table, fixed, html_table, latex, markdown, write_csv

Answers = Mapping[str, Sequence[Answered]]
PRINTED = "a table of the paper's case study"


def choose_question(
    questions: Sequence[Question],
    number: int | None,
    ratings: Callable[[Question], Sequence[float]],
    printed: Collection[int] = (),
) -> Question:
    """The question of this id, else one that the paper prints, else where models differ most.

    `ratings` gives the models' mean ratings of a question. Of questions with equal differences the
    first counts.
    """
    by_id = {question.question_id: question for question in questions}
    if number is not None:
        if number not in by_id:
            raise UserError(f"--question: {number} is not in the questions file")
        return by_id[number]
    known = [question for question in questions if question.question_id in printed]
    return known[0] if known else max(questions, key=lambda question: _spread(ratings(question)))


def _spread(ratings: Sequence[float]) -> float:
    """How far ratings lie apart; nothing where one is missing."""
    return max(ratings) - min(ratings) if all(map(math.isfinite, ratings)) else -1.0


def printed_questions(path: Path, questions: Sequence[Question]) -> set[int]:
    """The questions of which the paper prints ratings."""
    shown = {(number, category) for number, category, *_ in read_csv(path, _printed, PRINTED)}
    return {q.question_id for q in questions if (q.question_id, q.category) in shown}


def read_ratings(path: Path, question: Question) -> dict[str, list[float]]:
    """The paper's ratings by row, turn by turn; none for a question that it does not show."""
    shown = (question.question_id, question.category)
    records = read_csv(path, _printed, PRINTED)
    return {row: ratings for *place, row, ratings in records if tuple(place) == shown}


def _printed(record: dict[str, str]) -> tuple[int, str, str, list[float]]:
    """Question, category, row, and the ratings of both turns."""
    ratings = [float(record["turn1"]), float(record["turn2"])]
    return int(record["question_id"]), record["category"], record["row"], ratings


def write(
    prefix: Path,
    question: Question,
    rows: Sequence[Row],
    answered: Answers,
    paper: Mapping[str, Sequence[float]],
) -> None:
    """Write PREFIX.md, .html and .tex (ratings only) and .csv."""
    table = ratings_table(question, rows, answered, paper)
    label = f"tab:{prefix.name}"
    texts = {
        ".md": markdown(table) + markdown_dialogues(question, rows, answered),
        ".html": html_table(table) + html_dialogues(question, rows, answered),
        ".tex": "% \\usepackage{booktabs}\n" + latex(table, label),
    }
    for suffix, text in texts.items():
        with atomic_file(f"{prefix}{suffix}") as partial:
            partial.write_text(text, encoding="utf-8")
    write_csv(Path(f"{prefix}.csv"), records(question, rows, answered))


def ratings_table(
    question: Question,
    rows: Sequence[Row],
    answered: Answers,
    paper: Mapping[str, Sequence[float]],
) -> Table:
    """Each model's rating in each turn, with the paper's beside where it has the question."""
    turns = range(len(question.turns))
    lines = []
    for row in rows:
        cells = [rating(turn.score) for turn in answered[row.name]]
        shown = row.group != "Source" and row.paper in paper  # the paper shows no source LLM
        known = [rating(value) for value in paper[row.paper]] if shown else ["–"] * len(turns)
        lines.append([row.label, *cells, *(known if paper else ())])
    columns = ["Model", *(f"turn {turn + 1}" for turn in turns)]
    columns += [f"paper, turn {turn + 1}" for turn in turns] if paper else []
    title = f"Case study: question {question.question_id} ({question.category})"
    return Table(title, columns, {"": lines})


def rating(score: float) -> str:
    """A rating as the judge gave it, "missing" where there is none."""
    if math.isnan(score):
        return "missing"
    return f"{score:.0f}" if score == int(score) else fixed(score, 1)


def markdown_dialogues(question: Question, rows: Sequence[Row], answered: Answers) -> str:
    """The question, then each model's answers and judgments as quotations."""
    parts = []
    for turn, text in enumerate(question.turns):
        parts.append(f"\n#### Question, turn {turn + 1}\n\n{_quote(text)}\n")
        for row in rows:
            answer = answered[row.name][turn]
            parts.append(
                f"\n**{row.label}** (rating {rating(answer.score)})\n\n{_quote(answer.text)}\n"
                f"\nJudgment:\n\n{_quote(answer.judgment)}\n"
            )
    return "".join(parts)


def _quote(text: str) -> str:
    """Foreign text as a block of code, behind a fence that it cannot close."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"


def html_dialogues(question: Question, rows: Sequence[Row], answered: Answers) -> str:
    """The same as HTML; all foreign text is escaped."""
    parts = []
    for turn, text in enumerate(question.turns):
        parts.append(f'<p class="user">{html.escape(text)}</p><div class="answers">')
        for row in rows:
            answer = answered[row.name][turn]
            parts.append(answer_block(row, answer))
        parts.append("</div>")
    return "".join(parts)


def answer_block(row: Row, answer: Answered) -> str:
    """One model's answer with its rating, and the judgment to unfold."""
    return (
        f'<div class="answer" data-model="{html.escape(row.name, quote=True)}">'
        f"<h3>{html.escape(row.label)} <b>{rating(answer.score)}</b></h3>"
        f'<p class="text">{html.escape(answer.text) or "(no answer)"}</p>'
        f"<details><summary>judgment</summary><p>{html.escape(answer.judgment)}</p></details>"
        "</div>"
    )


def records(question: Question, rows: Sequence[Row], answered: Answers) -> list[dict[str, object]]:
    """One record a model and turn."""
    return [
        {
            "model": row.name,
            "question_id": question.question_id,
            "category": question.category,
            "turn": turn,
            "score": answer.score,
            "answer": answer.text,
            "judgment": answer.judgment,
        }
        for row in rows
        for turn, answer in enumerate(answered[row.name], 1)
    ]
