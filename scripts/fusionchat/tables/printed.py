"""Rows of Table 1 that nobody measured here: numbers as the paper prints them, and marked so."""

import dataclasses
import math
from collections.abc import Sequence

from fusionchat.categories import CATEGORIES
from fusionchat.errors import UserError
from fusionchat.scores.paper import PaperTable
from fusionchat.scores.rows import Row
from fusionchat.tables.table import Table, fixed
from fusionchat.tables.views import AVERAGE

GROUP = "Paper"


def with_printed(
    table: Table, rows: Sequence[Row], paper: PaperTable, categories: Sequence[str]
) -> Table:
    """The table of scores with these rows above it, in a group of their own, and a note."""
    if not rows:
        return table
    if unknown := [row.paper for row in rows if row.paper not in paper.scores]:
        raise UserError(f"--row: the paper has no row {unknown[0]} (it has {list(paper.scores)})")
    lines = []
    for row in rows:
        scores = paper.scores[row.paper]
        values = [scores.get(name, math.nan) for name in (*categories, AVERAGE)]
        cells = [row.label, *map(fixed, values)]
        lines.append(cells + ["–"] * (len(table.columns) - len(cells)))
    note = (
        f"Rows under {GROUP} are printed in {paper.source} (judge {paper.judge}); nothing of them "
        "was measured here."
    )
    groups = {GROUP: lines, **table.groups}
    return dataclasses.replace(table, groups=groups, notes=[*table.notes, note])


def printed_records(rows: Sequence[Row], paper: PaperTable) -> list[dict[str, object]]:
    """The same for the csv file: group, model, label, scores, and the paper's judge."""
    return [
        {
            "group": GROUP,
            "model": row.name,
            "label": row.label,
            **{name: paper.scores[row.paper][name] for name in (*CATEGORIES, AVERAGE)},
            "judge": paper.judge,
        }
        for row in rows
    ]
