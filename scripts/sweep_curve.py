"""Draw the models of a sweep over one numeric setting on a real axis, with intervals."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.figures.arguments import add_figure_arguments
from fusionchat.figures.sweeps import value_argument
from fusionchat.scores.rows import add_scores


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add_scores(parser)
    add_figure_arguments(parser)
    parser.add_argument("--setting", required=True, help="what the sweep varies, for the axis")
    parser.add_argument(
        "--value",
        dest="values",
        type=value_argument,
        nargs="+",
        required=True,
        metavar="NAME=NUMBER",
        help="the setting of each row; the first row is the default that the figure marks",
    )
    parser.add_argument(
        "--nll", type=cli.existing_path, nargs="*", default=[], help="files of measure_nll"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Draw scores and, where there are any, likelihoods over the setting."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.errors import UserError
    from fusionchat.figures import style, sweeps
    from fusionchat.scores.benchmark import read_benchmark
    from fusionchat.scores.likelihood import read_likelihoods

    values = dict(args.values)
    if values.keys() != {row.name for row in args.rows}:
        raise UserError("--value: name each --row once, and nothing else")
    benchmark = read_benchmark(args.scores, args.judge)
    _, likelihoods = read_likelihoods(args.nll)
    figure = sweeps.sweep_figure(benchmark, likelihoods, args.rows, values, args.setting)
    style.save(figure, args.output, sweeps.sweep_words(benchmark, values, args.setting))


if __name__ == "__main__":
    cli.run(main)
