"""Draw the paper's Figure 1: scores of the merging granularities by dialogue turn."""

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
    parser.add_argument("--show", nargs="+", required=True, help="the models to draw, in order")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Draw first turn, second turn and both."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.figures import style
    from fusionchat.figures.scores import score_words, turn_bars
    from fusionchat.scores.benchmark import read_benchmark

    shown = chosen(args.rows, args.show, "--show")
    benchmark = read_benchmark(args.scores, args.judge)
    figure = turn_bars(benchmark, shown, style.looks(args.rows))
    style.save(figure, args.output, score_words(benchmark, shown))


if __name__ == "__main__":
    cli.run(main)
