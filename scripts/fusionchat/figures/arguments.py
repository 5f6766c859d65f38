"""What the figure programs share: rows, output prefix, and the choice of models."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.scores.rows import Row, add_rows, find_row


def add_figure_arguments(parser: argparse.ArgumentParser) -> None:
    """`--row` (all rows of the run, so that colours agree) and `--output`."""
    add_rows(parser)
    parser.add_argument(
        "--output", type=cli.prefix, required=True, help="prefix of the .svg and .png files"
    )


def named_files(text: str) -> tuple[str, list[Path]]:
    """An argparse type: `NAME=FILE` or `NAME=FILE,FILE...`, the shards of a model."""
    name, _, paths = text.partition("=")
    if not name or not paths:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE[,FILE...]")
    return name, [cli.existing_path(path) for path in paths.split(",")]


def chosen(rows: Sequence[Row], names: Sequence[str], option: str) -> list[Row]:
    """The rows of these names, in this order."""
    return [find_row(rows, name, option) for name in names]


def labels(rows: Sequence[Row]) -> dict[str, str]:
    """The label of each model."""
    return {row.name: row.label for row in rows}
