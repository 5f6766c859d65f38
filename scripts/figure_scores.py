"""Draw the Average of each model with its interval, and its difference from the baseline."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.figures.arguments import add_figure_arguments
from fusionchat.scores.rows import add_scores, find_row


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add_scores(parser)
    add_figure_arguments(parser)
    parser.add_argument("--baseline", required=True, help="the row of the differences (CLM)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the bars and the paired differences."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.figures import style
    from fusionchat.figures.scores import score_bars, score_words
    from fusionchat.scores.benchmark import read_benchmark

    baseline = find_row(args.rows, args.baseline, "--baseline")
    benchmark = read_benchmark(args.scores, args.judge)
    figure = score_bars(benchmark, args.rows, baseline, style.looks(args.rows))
    style.save(figure, args.output, score_words(benchmark, args.rows))


if __name__ == "__main__":
    cli.run(main)
