"""Draw the radar of category scores of a few models."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.figures.arguments import add_figure_arguments, chosen
from fusionchat.scores.rows import add_scores


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add_scores(parser)
    add_figure_arguments(parser)
    parser.add_argument("--show", nargs="+", required=True, help="the models to draw, about five")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Draw one line a model over the categories, each axis from 1 to 10."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.figures import style
    from fusionchat.figures.scores import category_words, radar
    from fusionchat.scores.benchmark import read_benchmark

    shown = chosen(args.rows, args.show, "--show")
    benchmark = read_benchmark(args.scores, args.judge)
    figure = radar(benchmark, shown, style.looks(args.rows))
    style.save(figure, args.output, category_words(benchmark, shown))


if __name__ == "__main__":
    cli.run(main)
