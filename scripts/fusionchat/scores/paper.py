"""The paper's numbers, from the csv files under resources/paper."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionchat.categories import CATEGORIES
from fusionchat.errors import UserError
from fusionchat.readers.csv import read_csv
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


def _printed_row(record: dict[str, str]) -> tuple[str, str, dict[str, float], str, str]:
    """Row, group, scores by category, judge and source."""
    scores = {name: float(record[name]) for name in (*CATEGORIES, "average")}
    group = CLOSED.get(record["group"], record["group"])
    return record["row"], group, scores, record["judge"], record["source"]


def read_paper(path: Path, rows: Sequence[Row] = ()) -> PaperTable:
    """Read a table of the paper; a PAPER_ROW written out in `rows` must be one of its keys."""
    records = read_csv(path, _printed_row, "a table of the paper's scores")
    scores = {row: numbers for row, _, numbers, *_ in records}
    groups = {row: group for row, group, *_ in records}
    if len(scores) < len(records):
        printed = [row for row, *_ in records]
        twice = next(row for row in printed if printed.count(row) > 1)
        raise UserError(f"{path}: the row {twice} is there twice; leave one of them out")
    paper = PaperTable(scores, groups, *records[0][-2:])
    wrong = [row for row in rows if row.paper != row.name and not paper.has(row)]
    if wrong:
        names = ", ".join(f"{row.paper} of group {row.group}" for row in wrong)
        raise UserError(f"--row: {path} has no row {names} (it has {list(scores)})")
    return paper
