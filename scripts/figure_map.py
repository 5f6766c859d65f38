"""Draw gains over controls by two numeric settings (a map), or by one (a curve), from a csv."""

import argparse
from collections.abc import Sequence

from fusionchat import cli


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--gains",
        type=cli.existing_path,
        required=True,
        help="csv with the columns x, y, row, control, gain, low, high",
    )
    parser.add_argument("--x", required=True, help="what x is, for the axis")
    parser.add_argument("--y", default="", help="what y is, for the axis; left out for a curve")
    parser.add_argument("--measure", default="average score", help="what a gain is measured in")
    parser.add_argument(
        "--output", type=cli.prefix, required=True, help="prefix of the .svg and .png files"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Draw a panel for each row and control."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.figures import maps, style

    gains = maps.read_gains(args.gains)
    if len({gain.y for gain in gains}) > 1:
        figure = maps.map_figure(gains, args.x, args.y, args.measure)
    else:
        figure = maps.curve_figure(gains, args.x, args.measure)
    style.save(figure, args.output, maps.map_words(gains, args.x, args.y))


if __name__ == "__main__":
    cli.run(main)
