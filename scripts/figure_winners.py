"""Draw for each target the share of dialogues whose teacher was each model, by category."""

import argparse
from collections.abc import Sequence

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
    """Count the winners and draw a panel a target."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.figures import style
    from fusionchat.figures.teachers import winners
    from fusionchat.scores.teachers import read_categories, read_teachers, winner_shares

    categories = read_categories(args.dialogues)
    targets = chosen(args.rows, [name for name, _ in args.fused], "--fused")
    shares = {name: winner_shares(read_teachers(paths), categories) for name, paths in args.fused}
    style.save(winners(shares, targets, args.rows, style.looks(args.rows)), args.output)


if __name__ == "__main__":
    cli.run(main)
