"""Rows of tables and figures: which models, in which order and group, under which label."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from fusionchat import cli
from fusionchat.errors import UserError

# Under Paper stand numbers that the paper prints; all others are measured.
GROUPS = ("Paper", "Comparison", "Source", "Target", "Fused")


@dataclass(frozen=True)
class Row:
    """One model of a table: its group, its name in file names, its label and the paper's row."""

    group: str
    name: str
    label: str
    paper: str


def row_argument(text: str) -> Row:
    """An argparse type: `GROUP:NAME:LABEL` or `GROUP:NAME:LABEL:PAPER_ROW`."""
    parts = text.split(":")
    if len(parts) not in (3, 4) or not all(parts[:3]):
        raise argparse.ArgumentTypeError(f"{text!r} is not GROUP:NAME:LABEL[:PAPER_ROW]")
    if parts[0] not in GROUPS:
        raise argparse.ArgumentTypeError(f"group {parts[0]!r} is none of {', '.join(GROUPS)}")
    group, name, label = parts[:3]
    return Row(group, name, label, parts[3] if len(parts) == 4 else name)


def add_rows(parser: argparse.ArgumentParser) -> None:
    """Add `--row`; every table and figure of a run gets the same list, so colours agree."""
    parser.add_argument(
        "--row",
        dest="rows",
        type=row_argument,
        action="append",
        required=True,
        metavar="GROUP:NAME:LABEL[:PAPER_ROW]",
        help=f"a model, in table order; repeat. GROUP is {', '.join(GROUPS)}; PAPER_ROW is its "
        "row in resources/paper (NAME when left out)",
    )


def add_scores(parser: argparse.ArgumentParser) -> None:
    """Add `--scores` and `--judge`: where the models' scores are, and whose count."""
    parser.add_argument("--scores", type=cli.existing_path, required=True, help="scores.parquet")
    parser.add_argument("--judge", default=None, help="whose scores; needed when there are several")


def add_metrics(parser: argparse.ArgumentParser) -> None:
    """Add `--nll` and `--metrics`: what else was measured, a column each."""
    files = {"nll": "files of measure_nll", "metrics": "files of write_columns (.parquet)"}
    for name, text in files.items():
        parser.add_argument(f"--{name}", type=cli.existing_path, nargs="*", default=[], help=text)


def check_rows(rows: Sequence[Row]) -> None:
    """Refuse two rows of one name."""
    names = [row.name for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"--row: {', '.join(twice)} is given twice; give each model once")


def find_row(rows: Sequence[Row], name: str, option: str) -> Row:
    """The row of a model; an unknown name is a `UserError` that lists the known ones."""
    for row in rows:
        if row.name == name:
            return row
    known = ", ".join(row.name for row in rows)
    raise UserError(f"{option}: {name} is not among the rows ({known})")
