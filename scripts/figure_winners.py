"""Draw for each target the share of dialogues whose teacher was each model, by category."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.figures.arguments import add_figure_arguments, chosen, named_files


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add_figure_arguments(parser)
    parser.add_argument(
        "--fused",
        type=named_files,
        nargs="+",
        required=True,
        metavar="TARGET=FILE[,FILE...]",
        help="shards of fuse_distributions",
    )
    parser.add_argument(
        "--dialogues", type=cli.existing_path, nargs="+", required=True, help="dialogue shards"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Count the winners, draw a panel a target, and write the counts beside it as csv."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.figures import style
    from fusionchat.figures.teachers import winner_records, winner_words, winners
    from fusionchat.scores.teachers import read_categories, read_teachers, winner_shares
    from fusionchat.tables.table import write_csv

    categories = read_categories(args.dialogues)
    targets = chosen(args.rows, [name for name, _ in args.fused], "--fused")
    shares = {name: winner_shares(read_teachers(paths), categories) for name, paths in args.fused}
    figure = winners(shares, targets, args.rows, style.looks(args.rows))
    style.save(figure, args.output, winner_words(shares, targets, args.rows))
    write_csv(Path(f"{args.output}.csv"), winner_records(shares))


if __name__ == "__main__":
    cli.run(main)
