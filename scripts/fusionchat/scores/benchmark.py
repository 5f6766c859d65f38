"""The scores of a run as arrays: model by training seed, question, turn, choice, judge repeat."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionchat.categories import CATEGORIES
from fusionchat.errors import UserError
from fusionchat.mt_bench.record_fields import chosen_judge
from fusionchat.readers.parquet import check_filled, named_errors, open_parquet
from fusionchat.replicates import FIRST, paired_seeds
from fusionchat.scores.metrics import Column, Metric, Values

if TYPE_CHECKING:
    import pyarrow as pa

SHORT_NAMES = dict(
    zip(CATEGORIES, ("Writ", "Role", "Reas", "Math", "Code", "Extr", "STEM", "Hum"), strict=True)
)
COLUMNS = ("model", "repeat", "choice", "question_id", "category", "turn", "score")
AXES = ("seed", "question_id", "turn", "choice", "repeat")
SCALE = (1.0, 10.0)
RATING = Metric("rating", "rating", "average rating", "question", bounds=SCALE)


@dataclass(frozen=True)
class Benchmark:
    """Scores of several models on one question set by one judge.

    `question_ids` [Q] and `strata` [Q] (index into `categories`) run along the second axis of
    `scores[model]`, float64 [seeds, Q, turns, choices, repeats] with NaN where a score is missing;
    `seeds[model]` are the numbers of the seeds along its first axis. `asked` [Q, turns] says which
    turns a question has.
    """

    judge: str
    categories: tuple[str, ...]
    question_ids: np.ndarray
    strata: np.ndarray
    turns: tuple[int, ...]
    scores: dict[str, np.ndarray]
    seeds: dict[str, tuple[int, ...]]
    asked: np.ndarray

    def all_scores(self, model: str) -> np.ndarray:
        """The model's scores; an unknown name is a `UserError` that lists the known ones."""
        if model not in self.scores:
            known = ", ".join(self.scores)
            raise UserError(f"no scores of {model} by {self.judge} (there are: {known})")
        return self.scores[model]

    def question_means(self, model: str, turn: int | None = None) -> np.ndarray:
        """Mean score of each question with each seed [Q, seeds], of all turns or of one."""
        return self._means(self.all_scores(model), turn)

    @cached_property
    def column(self) -> Column:
        """The Average as a metric: question means in the strata of their categories."""
        questions = tuple(self.question_ids.tolist())
        return Column(
            RATING,
            {
                model: Values(questions, self.seeds[model], self.question_means(model), self.strata)
                for model in self.scores
            },
        )

    def paired(self, model: str, reference: str) -> tuple[np.ndarray, np.ndarray]:
        """All scores of two models with the same seeds along the first axis."""
        one, other = self.all_scores(model), self.all_scores(reference)
        first, second = paired_seeds(self.seeds[model], self.seeds[reference])
        return one[first], other[second]

    def _means(self, scores: np.ndarray, turn: int | None = None) -> np.ndarray:
        """[Q, seeds]; a turn's score is the mean over its choices and repeats."""
        by_turn = nan_mean(scores.reshape(*scores.shape[:3], 1, -1))[..., None]
        if turn is None:
            return self.over_turns(by_turn)[:, :, 0, 0].T
        return by_turn[:, :, self.turns.index(turn), 0, 0].T

    def over_turns(self, scores: np.ndarray) -> np.ndarray:
        """Mean of [..., Q, turns, choices, repeats] over the turns that each question has.

        A question with a turn that has no score is NaN: averaging only the other turn would favour
        the easier one.
        """
        asked = self.asked[:, :, None, None]
        return np.where(asked, scores, 0.0).sum(axis=-3) / asked.sum(axis=-3)

    def missing(self, model: str) -> int:
        """How many single scores (of all its seeds) the model lacks."""
        return int((np.isnan(self.all_scores(model)) & self.asked[:, :, None, None]).sum())


def nan_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN; NaN where nothing is."""
    present = ~np.isnan(values)
    count = present.sum(axis=-1)
    total = np.where(present, values, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def read_benchmark(path: str | Path, judge: str | None = None) -> Benchmark:
    """Read scores.parquet; `judge` may be left out where the file holds only one."""
    table = _read_scores(Path(path))
    judges = table["judge"].to_pylist()
    judge = chosen_judge(judges, judge, path)
    return _benchmark(table.filter([name == judge for name in judges]), judge, path)


def _read_scores(path: Path) -> "pa.Table":
    """The columns of scores.parquet; a file without the column `seed` holds scores of seed 1."""
    import pyarrow as pa

    columns = ["judge", *COLUMNS]
    file = open_parquet(path, columns, "score")
    seeded = ["seed"] if "seed" in file.schema_arrow.names else []
    with named_errors(path):
        table = file.read(columns=[*seeded, *columns])
    check_scores(path, table)
    if seeded:
        return table
    return table.append_column("seed", pa.array([FIRST] * table.num_rows))


def check_scores(path: Path, table: "pa.Table") -> None:
    """Raise `UserError` where there are no rows, where a value is missing that is no score, and for
    text in the place of numbers.
    """
    import pyarrow as pa

    if not len(table):
        raise UserError(f"{path} holds no scores; make it with score")
    filled = [name for name in table.column_names if name != "score"]
    check_filled(path, table, filled, "; make it with score")
    for name in {*AXES, "score"} & set(table.column_names):
        kind = table.schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
            raise UserError(f"{path}: column {name} holds {kind}, not numbers; make it with score")


def _benchmark(table: "pa.Table", judge: str, path: str | Path) -> Benchmark:
    names = ("seed", *COLUMNS)
    values = {name: np.asarray(table[name].to_pylist(), dtype=object) for name in names}
    pairs = sorted(
        set(zip(values["category"], values["question_id"], strict=True)),
        key=lambda pair: (*category_order(pair[0]), pair[1]),
    )
    categories = tuple(dict.fromkeys(category for category, _ in pairs))
    questions = [question for _, question in pairs]
    if len(set(questions)) != len(pairs):
        raise UserError(f"{path} holds a question in two categories")
    cells = list(zip(*(values[name] for name in ("model", *AXES)), strict=True))
    if len(set(cells)) < len(cells):
        twice = next(cell for cell, count in Counter(cells).items() if count > 1)
        raise UserError(f"{path} holds two scores of {twice[0]} for question {twice[2]}")
    axes = {name: sorted(set(values[name])) for name in AXES} | {"question_id": questions}
    score = np.asarray([np.nan if s is None else s for s in values["score"]], dtype=np.float64)
    scores, seeds = {}, {}
    for model in dict.fromkeys(values["model"]):
        chosen = values["model"] == model
        seeds[model] = tuple(sorted(set(values["seed"][chosen])))
        model_axes = axes | {"seed": list(seeds[model])}
        places = tuple(_places(values[name][chosen], model_axes[name]) for name in AXES)
        scores[model] = np.full([len(model_axes[name]) for name in AXES], np.nan)
        scores[model][places] = score[chosen]
    strata = np.asarray([categories.index(category) for category, _ in pairs])
    turns = tuple(axes["turn"])
    asked = np.zeros((len(questions), len(turns)), dtype=bool)
    asked[tuple(_places(values[name], axes[name]) for name in ("question_id", "turn"))] = True
    return Benchmark(judge, categories, np.asarray(questions), strata, turns, scores, seeds, asked)


def _places(values: np.ndarray, axis: list[Any]) -> np.ndarray:
    """The place of each value along an axis."""
    known = {value: place for place, value in enumerate(axis)}
    return np.asarray([known[value] for value in values])


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
