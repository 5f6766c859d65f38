"""How far a judge agrees with people: the published votes on pairs of MT-Bench answers.

A judge that grades single answers votes for the answer with the higher score, or for a tie.
Agreement is FastChat's: of all pairs of votes on the same two answers, the share that are equal,
with ties among the votes or without. People's votes are those of the experts, not of the authors.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusionchat.errors import UserError
from fusionchat.mt_bench.judging.judges import Task
from fusionchat.mt_bench.questions import Question
from fusionchat.readers.parquet import read_table

FIELDS = ("question_id", "model_a", "model_b", "winner", "judge", "turn")
CONVERSATIONS = ("conversation_a", "conversation_b")
PEOPLE = "expert"
TIE = "tie"

# An answer by question, model and turn; two of them, by name, to the same question and turn.
Item = tuple[int, str, int]
Pair = tuple[Item, Item]


@dataclass(frozen=True)
class HumanVotes:
    """People's votes by pair of answers (the better model's name, or a tie), and the answers."""

    votes: Mapping[Pair, Sequence[str]]
    answers: Mapping[tuple[int, str], tuple[str, ...]]


def read_votes(path: Path) -> HumanVotes:
    """Read lmsys/mt_bench_human_judgments: its Parquet file, or the same rows as JSON lines."""
    from fusionchat.files import read_numbered_jsonl

    if path.suffix == ".parquet":
        rows = enumerate(read_table(path).to_pylist(), 1)
        named = [(f"{path}, row {number}", row) for number, row in rows]
    else:
        named = [(f"{path}, line {n}", row) for n, row in read_numbered_jsonl(path)]
    votes: dict[Pair, list[str]] = defaultdict(list)
    answers: dict[tuple[int, str], tuple[str, ...]] = {}
    for where, row in named:
        pair, vote = _vote(row, where)
        if str(row["judge"]).startswith(PEOPLE):
            votes[pair].append(vote)
            for model, conversation in zip(("model_a", "model_b"), CONVERSATIONS, strict=True):
                _keep_answers(answers, (row["question_id"], row[model]), row[conversation], where)
    if not votes:
        raise UserError(f"{path}: holds no votes of experts")
    return HumanVotes(dict(votes), answers)


def _vote(row: Mapping[str, Any], where: str) -> tuple[Pair, str]:
    if lacking := [name for name in (*FIELDS, *CONVERSATIONS) if name not in row]:
        raise UserError(
            f"{where}: not a vote of MT-Bench's human judgments: {lacking[0]} is missing"
        )
    winner = str(row["winner"])
    if winner not in ("model_a", "model_b") and TIE not in winner:
        raise UserError(f"{where}: winner is {winner!r}, not model_a, model_b or a tie")
    items = [(row["question_id"], row[model], row["turn"]) for model in ("model_a", "model_b")]
    first, second = sorted(items)
    return (first, second), TIE if TIE in winner else row[winner]


def _keep_answers(
    answers: dict[tuple[int, str], tuple[str, ...]],
    key: tuple[int, str],
    conversation: Any,
    where: str,
) -> None:
    """Note a model's answers, which all votes on it must have seen."""
    try:
        said = tuple(m["content"] for m in conversation if m["role"] == "assistant")
    except (TypeError, KeyError) as error:
        raise UserError(f"{where}: a conversation is no list of roles and contents") from error
    known = answers.setdefault(key, said)
    if known != said:
        longer, shorter = max(known, said, key=len), min(known, said, key=len)
        if longer[: len(shorter)] != shorter:
            raise UserError(f"{where}: {key[1]} answers question {key[0]} otherwise than before")
        answers[key] = longer


def voted_tasks(votes: HumanVotes, questions: Sequence[Question]) -> list[Task]:
    """A task for every answer that people voted on, in the order of questions, models and turns."""
    known = {question.question_id: question for question in questions}
    items = sorted({item for pair in votes.votes for item in pair})
    tasks = []
    for question_id, model, turn in items:
        question = known.get(question_id)
        if question is None or not 1 <= turn <= len(question.turns):
            raise UserError(f"votes: turn {turn} of question {question_id} is not in the questions")
        answers = votes.answers[question_id, model]
        if len(answers) < turn:
            raise UserError(
                f"votes: {model} has no answer to turn {turn} of question {question_id}"
            )
        tasks.append(Task(question, model, "", 0, answers, turn))
    return tasks


def agreement_with_people(
    votes: HumanVotes, scores: Mapping[Item, float | None], judge: str
) -> list[dict[str, Any]]:
    """Agreement of the judge with people and of people with each other, by turn and ties.

    `votes` counts the pairs of votes that were compared, `agreed` those that are equal;
    `unrated` counts pairs of answers that the judge gave no two scores.
    """
    turns = sorted({first[2] for first, _ in votes.votes})
    rows = []
    for turn, ties in itertools.product(turns, (True, False)):
        chosen = {pair: v for pair, v in votes.votes.items() if pair[0][2] == turn}
        by_judge = {pair: _judges_vote(pair, scores) for pair in chosen}
        with_people = [(by_judge[p], v) for p, given in chosen.items() for v in given]
        unrated = sum(vote is None for vote in by_judge.values())
        rows.append(_row(judge, turn, ties, with_people) | {"unrated": unrated})
        people = [two for given in chosen.values() for two in itertools.combinations(given, 2)]
        rows.append(_row("people", turn, ties, people) | {"unrated": 0})
    return rows


def _judges_vote(pair: Pair, scores: Mapping[Item, float | None]) -> str | None:
    first, second = (scores.get(item) for item in pair)
    if first is None or second is None:
        return None
    return TIE if first == second else pair[0 if first > second else 1][1]


def _row(
    judge: str, turn: int, ties: bool, compared: Iterable[tuple[str | None, str]]
) -> dict[str, Any]:
    counted = list(_counted(compared, ties))
    agreed = sum(one == other for one, other in counted)
    share = agreed / len(counted) if counted else None
    return {
        "judge": judge,
        "turn": turn,
        "ties": "with" if ties else "without",
        "votes": len(counted),
        "agreed": agreed,
        "agreement": share,
    }


def _counted(
    compared: Iterable[tuple[str | None, str]], ties: bool
) -> Iterator[tuple[str | None, str]]:
    """The pairs of votes that count: both there, and without ties neither of them one."""
    for one, other in compared:
        if one is not None and (ties or TIE not in (one, other)):
            yield one, other
