"""Draw the weights of a VaRM merge by layer and matrix, a map for each target."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.figures.arguments import add_figure_arguments, labels


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    parser.add_argument("--weights", type=cli.existing_path, required=True, help="weights.csv")
    add_figure_arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the map."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.figures import style
    from fusionchat.figures.weights import heatmap, read_weights, weight_words

    weights, names = read_weights(args.weights), labels(args.rows)
    style.save(heatmap(weights, names), args.output, weight_words(weights, names))


if __name__ == "__main__":
    cli.run(main)
