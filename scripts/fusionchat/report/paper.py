"""The paper's numbers, from the csv files under resources/paper."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionchat.errors import UserError
from fusionchat.report.benchmark import CATEGORIES
from fusionchat.report.rows import Row


@dataclass(frozen=True)
class PaperTable:
    """Scores by row key: the category scores and the printed average, with judge and source."""

    scores: dict[str, dict[str, float]]
    judge: str
    source: str

    def average(self, row: str) -> float:
        """The printed average of a row; NaN where the paper has no such row."""
        return self.scores.get(row, {}).get("average", float("nan"))


def read_paper(path: Path, rows: Sequence[Row] = ()) -> PaperTable:
    """Read a table of the paper; a PAPER_ROW written out in `rows` must be one of its keys."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            records = list(csv.DictReader(stream))
        names = [*CATEGORIES, "average"]
        scores = {r["row"]: {name: float(r[name]) for name in names} for r in records}
        judge, source = records[0]["judge"], records[0]["source"]
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise UserError(f"{path} is not a table of the paper's scores: {error!r}") from error
    unknown = [row.paper for row in rows if row.paper != row.name and row.paper not in scores]
    if unknown:
        raise UserError(f"--row: {path} has no row {', '.join(unknown)} (it has {list(scores)})")
    return PaperTable(scores, judge, source)
