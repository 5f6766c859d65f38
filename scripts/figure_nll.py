"""Draw each model's held-out likelihood as paired differences from CLM, Self or other models."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.figures.arguments import add_figure_arguments, chosen


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add_figure_arguments(parser)
    parser.add_argument(
        "--nll", type=cli.existing_path, nargs="+", required=True, help="files of measure_nll"
    )
    parser.add_argument(
        "--against", nargs="+", required=True, help="the models that are subtracted, in order"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Draw a line a model and a mark for each reference."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.errors import UserError
    from fusionchat.figures import forest, style
    from fusionchat.scores.likelihood import read_likelihoods

    references = chosen(args.rows, args.against, "--against")
    _, likelihoods = read_likelihoods(args.nll)
    if lacking := [row.name for row in references if row.name not in likelihoods.models]:
        raise UserError(f"--against: {lacking[0]} has no file among those of --nll")
    figure = forest.likelihood_figure(likelihoods, args.rows, references)
    style.save(figure, args.output, forest.likelihood_words(likelihoods, args.rows, references))


if __name__ == "__main__":
    cli.run(main)
