"""What the programs of Table 1 and Table 2 share: their arguments and how they are written."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.schema import default
from fusionchat.scores.rows import Row, add_rows, add_scores, check_rows, find_row
from fusionchat.tables.table import Table


def add_score_arguments(parser: argparse.ArgumentParser, baseline: str) -> None:
    """Rows, scores, judge, baseline, the paper's csv and the output prefix."""
    add_scores(parser)
    add_rows(parser)
    parser.add_argument("--baseline", required=True, help=baseline)
    parser.add_argument("--paper", type=cli.existing_path, default=None, help="the paper's csv")
    parser.add_argument(
        "--compare",
        choices=("signs", "verdicts"),
        default=default("report.compare"),
        help="beside the paper: verdicts for runs of its own models, only signs for others",
    )
    add_judge_model(parser)
    add_table_output(parser)


def add_table_output(parser: argparse.ArgumentParser) -> None:
    """`--output`, a prefix."""
    parser.add_argument(
        "--output",
        type=cli.prefix,
        required=True,
        help="prefix of the .csv, .md, .tex and .html files",
    )


def add_values(parser: argparse.ArgumentParser) -> None:
    """`--values`, by which a benchmark's metrics become columns of other tables."""
    parser.add_argument(
        "--values", type=Path, required=True, help="the metrics, for --metrics of others (.parquet)"
    )


def add_judge_model(parser: argparse.ArgumentParser) -> None:
    """`--judge-model`, by which the paper's judge is recognised whatever a run calls it."""
    parser.add_argument(
        "--judge-model",
        default=None,
        help="the model behind the judge (its name when left out); verdicts need the paper's",
    )


def null_pair(text: str) -> tuple[str, str, str]:
    """An argparse type: `NAME:NAME:WHY`, two models that must score the same."""
    parts = text.split(":", 2)
    if len(parts) != 3 or not all(parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:NAME:WHY")
    return parts[0], parts[1], parts[2]


def checked_baseline(rows: Sequence[Row], name: str) -> Row:
    """The baseline's row, after a check of the rows."""
    check_rows(rows)
    return find_row(rows, name, "--baseline")


def present(*tables: Table | None) -> list[Table]:
    """The tables that there are."""
    return [table for table in tables if table is not None]
