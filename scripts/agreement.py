"""Tell how far judges agree: exact, within one, rank correlation, for every pair of them."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli


def build_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(__doc__)
    parser.add_argument("--scores", type=cli.existing_path, required=True, help="scores (.parquet)")
    parser.add_argument("--output", type=Path, required=True, help="a row a pair (.csv)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Compare every judge and repeat with every other one."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.mt_bench.judging.agreement import COLUMNS, NEEDED, agreement
    from fusionchat.readers.parquet import check_columns, read_table
    from fusionchat.scores.benchmark import check_scores
    from fusionchat.tables.table import write_csv

    scores = read_table(args.scores, maker="score")
    check_columns(args.scores, scores.schema, NEEDED, "; make it with score")
    check_scores(args.scores, scores)
    rows = agreement(scores)
    if not rows:
        logging.warning("one judge, asked once, has nobody to agree with: the table has no rows")
    write_csv(args.output, rows, COLUMNS)


if __name__ == "__main__":
    cli.run(main)
