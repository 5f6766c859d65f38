"""Collect judgments into one table with a row for every score, missing ones included."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.files import atomic_file
from fusionchat.mt_bench.questions import read_questions
from fusionchat.mt_bench.scores import read_scores


def build_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(__doc__)
    parser.add_argument("--judgments", type=cli.existing_path, nargs="+", required=True)
    parser.add_argument("--questions", type=cli.existing_path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="scores (.parquet)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Write the table and say how many scores are missing."""
    args = build_parser().parse_args(argv)
    import pyarrow.parquet as pq

    table = read_scores(args.judgments, read_questions(args.questions))
    with atomic_file(args.output) as partial:
        pq.write_table(table, partial, compression="zstd", write_page_checksum=True)
    missing = table["score"].null_count
    logging.info("%d scores, %d of them missing", len(table), missing)


if __name__ == "__main__":
    cli.run(main)
