"""The scores of a run as arrays: model by question, turn, choice and judge repeat."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fusionchat.categories import CATEGORIES
from fusionchat.errors import UserError
from fusionchat.readers.parquet import read_table

if TYPE_CHECKING:
    import pyarrow as pa

SHORT_NAMES = dict(
    zip(CATEGORIES, ("Writ", "Role", "Reas", "Math", "Code", "Extr", "STEM", "Hum"), strict=True)
)
COLUMNS = ("model", "repeat", "choice", "question_id", "category", "turn", "score")


@dataclass(frozen=True)
class Benchmark:
    """Scores of several models on one question set by one judge.

    `question_ids` [Q] and `strata` [Q] (index into `categories`) run along the first axis of
    `scores[model]`, float64 [Q, turns, choices, repeats] with NaN where a score is missing.
    """

    judge: str
    categories: tuple[str, ...]
    question_ids: np.ndarray
    strata: np.ndarray
    turns: tuple[int, ...]
    scores: dict[str, np.ndarray]

    def question_means(self, model: str, turn: int | None = None) -> np.ndarray:
        """Mean score of each question [Q], of all turns or of one.

        A turn's score is the mean over its choices and repeats. A question with a turn that has no
        score at all is NaN: averaging only the other turn would favour the easier one.
        """
        if model not in self.scores:
            known = ", ".join(self.scores)
            raise UserError(f"no scores of {model} by {self.judge} (there are: {known})")
        by_turn = nan_mean(self.scores[model].reshape(*self.scores[model].shape[:2], -1))
        return by_turn.mean(axis=1) if turn is None else by_turn[:, self.turns.index(turn)]

    def matrix(self, models: Sequence[str], turn: int | None = None) -> np.ndarray:
        """Question means of several models [Q, models]."""
        return np.column_stack([self.question_means(model, turn) for model in models])

    def missing(self, model: str) -> int:
        """How many single scores (question, turn, choice, repeat) the model lacks."""
        return int(np.isnan(self.scores[model]).sum())


def nan_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN; NaN where nothing is."""
    present = ~np.isnan(values)
    count = present.sum(axis=-1)
    total = np.where(present, values, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def read_benchmark(path: str | Path, judge: str | None = None) -> Benchmark:
    """Read scores.parquet; `judge` may be left out where the file holds only one."""
    table = read_table(Path(path), ["judge", *COLUMNS], "score")
    if table.num_rows == 0:
        raise UserError(f"{path} holds no scores; make it with score")
    judges = sorted(set(table["judge"].to_pylist()))
    if judge is None and len(judges) > 1:
        raise UserError(f"{path} holds several judges ({', '.join(judges)}); choose with --judge")
    judge = judge or judges[0]
    if judge not in judges:
        raise UserError(f"--judge: {path} has no scores of {judge} (it has: {', '.join(judges)})")
    if len(judges) > 1:
        table = table.filter([name == judge for name in table["judge"].to_pylist()])
    return _benchmark(table, judge)


def _benchmark(table: "pa.Table", judge: str) -> Benchmark:
    values = {name: np.asarray(table[name].to_pylist(), dtype=object) for name in COLUMNS}
    pairs = sorted(
        set(zip(values["category"], values["question_id"], strict=True)),
        key=lambda pair: (*category_order(pair[0]), pair[1]),
    )
    categories = tuple(dict.fromkeys(category for category, _ in pairs))
    position = {question: index for index, (_, question) in enumerate(pairs)}
    if len(position) != len(pairs):
        raise UserError("the scores hold a question in two categories")
    axes = [
        sorted(set(values[name])) if name != "question_id" else list(position)
        for name in ("question_id", "turn", "choice", "repeat")
    ]
    places = np.column_stack(
        [
            np.asarray([{value: i for i, value in enumerate(axis)}[v] for v in values[name]])
            for name, axis in zip(("question_id", "turn", "choice", "repeat"), axes, strict=True)
        ]
    )
    score = np.asarray([np.nan if s is None else s for s in values["score"]], dtype=np.float64)
    scores = {}
    for model in dict.fromkeys(values["model"]):
        chosen = values["model"] == model
        scores[model] = np.full([len(axis) for axis in axes], np.nan)
        scores[model][tuple(places[chosen].T)] = score[chosen]
    strata = np.asarray([categories.index(category) for category, _ in pairs])
    ids = np.asarray(list(position))
    return Benchmark(judge, categories, ids, strata, tuple(axes[1]), scores)


def category_order(category: str) -> tuple[int, str]:
    """Sort key: the paper's order first, then any further category by name."""
    known = CATEGORIES.index(category) if category in CATEGORIES else len(CATEGORIES)
    return known, category


def short_name(category: str) -> str:
    """A column title of at most four letters or so."""
    return SHORT_NAMES.get(category, category[:4].title())


def full_name(category: str) -> str:
    """A category as a word in a figure."""
    return {"stem": "STEM"}.get(category, category.capitalize())
