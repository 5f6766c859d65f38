"""Write the gains of models over controls at points of one or two settings, as tables."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.scores.gains import point_argument
from fusionchat.scores.rows import add_scores
from fusionchat.tables.arguments import add_table_output


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add_scores(parser)
    parser.add_argument(
        "--point",
        dest="points",
        type=point_argument,
        action="append",
        required=True,
        metavar="X:Y:LABEL=MODEL,LABEL=MODEL...",
        help="values of the settings and the models there; repeat",
    )
    parser.add_argument(
        "--control", dest="controls", nargs="+", required=True, help="labels to compare with"
    )
    parser.add_argument("--x", required=True, help="what x is")
    parser.add_argument("--y", default="", help="what y is; left out for a curve over x")
    parser.add_argument("--title", required=True, help="title of the table")
    add_table_output(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Compare, write."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.scores.benchmark import read_benchmark
    from fusionchat.scores.gains import gain_records, gains
    from fusionchat.tables.gains import gain_table
    from fusionchat.tables.table import write_tables

    measured = gains(read_benchmark(args.scores, args.judge), args.points, args.controls)
    table = gain_table(measured, args.x, args.y, args.title)
    write_tables(args.output, [table], gain_records(measured))


if __name__ == "__main__":
    cli.run(main)
