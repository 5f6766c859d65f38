"""The paper's numbers, from the csv files under resources/paper."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionchat.categories import CATEGORIES
from fusionchat.errors import UserError
from fusionchat.scores.rows import Row

CLOSED = {"closed": "Comparison"}  # what the paper calls the group


@dataclass(frozen=True)
class PaperTable:
    """Scores by row key: the category scores and the printed average, with judge and source.

    `groups` says of each row whether it is a Comparison, a Source, a Target or a Fused model.
    """

    scores: dict[str, dict[str, float]]
    groups: dict[str, str]
    judge: str
    source: str

    def has(self, row: Row) -> bool:
        """Whether the paper has this row, in the same group: a source is no target of its name."""
        return self.groups.get(row.paper) == row.group

    def average(self, row: Row) -> float:
        """The printed average of a row; NaN where the paper has no such row."""
        return self.scores[row.paper]["average"] if self.has(row) else float("nan")


def read_paper(path: Path, rows: Sequence[Row] = ()) -> PaperTable:
    """Read a table of the paper; a PAPER_ROW written out in `rows` must be one of its keys."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            records = list(csv.DictReader(stream))
        columns = [*CATEGORIES, "average"]
        scores = {r["row"]: {name: float(r[name]) for name in columns} for r in records}
        groups = {r["row"]: CLOSED.get(r["group"], r["group"]) for r in records}
        judge, source = records[0]["judge"], records[0]["source"]
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise UserError(f"{path} is not a table of the paper's scores: {error!r}") from error
    paper = PaperTable(scores, groups, judge, source)
    wrong = [row for row in rows if row.paper != row.name and not paper.has(row)]
    if wrong:
        names = ", ".join(f"{row.paper} of group {row.group}" for row in wrong)
        raise UserError(f"--row: {path} has no row {names} (it has {list(scores)})")
    return paper
