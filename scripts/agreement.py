"""Tell how far judges agree: exact, within one, rank correlation, for every pair of them."""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.errors import UserError
from fusionchat.files import atomic_file


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
    from fusionchat.mt_bench.judging.agreement import agreement
    from fusionchat.readers.parquet import read_table

    rows = agreement(read_table(args.scores, maker="score"))
    if not rows:
        raise UserError(f"{args.scores}: one judge, asked once, has nobody to agree with")
    with atomic_file(args.output) as partial, partial.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    cli.run(main)
