"""Pairs of answers that a judge is shown in both orders, and FastChat's records of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fusionchat.errors import UserError
from fusionchat.mt_bench.answers import judged_turns, no_answer
from fusionchat.mt_bench.judging.judges import Judge, RuleJudge, Task, Verdict
from fusionchat.mt_bench.questions import Question
from fusionchat.replicates import replicate_name, split_replicate

# A verdict as a number: the share of the win that goes to the answer shown first.
FIRST, TIE, SECOND = 1.0, 0.5, 0.0

Answers = Mapping[int, Mapping[str, Any]]  # answer records by question


@dataclass(frozen=True, eq=False)
class Game:
    """One judgment to make: two models' answers to one turn (counted from 1), one shown first."""

    question: Question
    models: tuple[str, str]
    answers: tuple[tuple[str, ...], tuple[str, ...]]
    turn: int
    no_answer: str = ""
    repeat: int = 0


def opponents(models: Sequence[str], baseline: str) -> dict[str, str]:
    """The baseline of each other model: its replicate of the same training seed, where there is."""
    paired = {}
    for model in models:
        name, seed = split_replicate(model)
        replicate = replicate_name(baseline, seed)
        if name != baseline:
            paired[model] = replicate if replicate in models else baseline
    return paired


def make_games(
    questions: Sequence[Question], answers: Mapping[str, Answers], pairs: Mapping[str, str]
) -> list[Game]:
    """Every turn of every question for each pair of models, in both orders, one after the other.

    As in FastChat a model's first choice plays.
    """
    games = []
    for model, baseline in pairs.items():
        for question in questions:
            first, second = (answers[name][question.question_id] for name in (model, baseline))
            choices = first["choices"][0], second["choices"][0]
            shown = judged_turns(choices[0]), judged_turns(choices[1])
            for turn in range(1, len(question.turns) + 1):
                reason = no_answer(choices[0], turn) or no_answer(choices[1], turn)
                order = Game(question, (model, baseline), shown, turn, reason)
                games += [order, _swapped(order)]
    return games


def _swapped(game: Game) -> Game:
    models, answers = game.models[::-1], game.answers[::-1]
    return Game(game.question, models, answers, game.turn, game.no_answer)


@dataclass
class RulePairJudge:
    """A program that rates both answers by the rule of their question's turn: the higher wins."""

    rules: RuleJudge

    @property
    def name(self) -> str:
        """Name in the records."""
        return self.rules.name

    def prompt_name(self, task: Game) -> str:
        """Always the same procedure."""
        return f"pair-{self.rules.prompt_name(_alone(task, 0))}"

    def status(self) -> str:
        """Nothing: rules cost nothing."""
        return ""

    def close(self) -> None:
        """Nothing is held."""

    def judge_all(self, tasks: Sequence[Game]) -> Iterator[tuple[Game, Verdict]]:
        """Yield a verdict for every game, in order."""
        for game in tasks:
            a, b = (v for _, v in self.rules.judge_all([_alone(game, 0), _alone(game, 1)]))
            winner = TIE if a.rating == b.rating else FIRST if a.rating > b.rating else SECOND
            said = f"Assistant A: {a.judgment}\nAssistant B: {b.judgment}"
            yield game, Verdict(winner, said, f"{a.user_prompt}\n\n{b.user_prompt}")


def _alone(game: Game, place: int) -> Task:
    return Task(game.question, game.models[place], "", 0, game.answers[place], game.turn)


def match_records(
    games: Sequence[Game], verdicts: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """FastChat's record of each pair of games, then what it has no field for.

    Its time is 0, so that the same verdicts are the same bytes.
    """
    records = []
    for index in range(0, len(games), 2):
        game, (one, two) = games[index], verdicts[index : index + 2]
        records.append(
            {
                "question_id": game.question.question_id,
                "model_1": game.models[0],
                "model_2": game.models[1],
                "g1_winner": _winner(one["winner"], ("model_1", "model_2")),
                "g2_winner": _winner(two["winner"], ("model_2", "model_1")),
                "judge": one["judge"],
                "g1_user_prompt": one["user_prompt"],
                "g1_judgment": one["judgment"],
                "g2_user_prompt": two["user_prompt"],
                "g2_judgment": two["judgment"],
                "turn": game.turn,
                "tstamp": 0.0,
                "g1_facts": one["facts"],
                "g2_facts": two["facts"],
            }
        )
    return records


def _winner(verdict: float, shown: tuple[str, str]) -> str:
    return {FIRST: shown[0], SECOND: shown[1], TIE: "tie"}.get(verdict, "error")


def game_record(judge: Judge[Game], game: Game, verdict: Verdict) -> dict[str, Any]:
    """What is kept of one order; why it has no winner stands under `missing`, as everywhere."""
    missing = {"missing": verdict.missing.kind} if verdict.missing else {}
    return {
        "winner": verdict.rating,
        "judge": [judge.name, judge.prompt_name(game)],
        "user_prompt": verdict.user_prompt,
        "judgment": verdict.judgment,
        "facts": verdict.facts,
        **missing,
    }


def check_baseline(models: Sequence[str], baseline: str) -> None:
    """Raise a `UserError` where there is nobody to compare, or nobody to compare with."""
    if baseline not in models:
        raise UserError(f"--baseline {baseline}: no answers of it (there are: {', '.join(models)})")
    if not opponents(models, baseline):
        raise UserError(f"--answers: holds answers of {baseline} alone; give other models' too")
