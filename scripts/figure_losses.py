"""Draw the training loss of each target."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.figures.arguments import add_figure_arguments, chosen, named_files


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add_figure_arguments(parser)
    parser.add_argument(
        "--loss", type=named_files, nargs="+", required=True, metavar="TARGET=FILE", help="loss.csv"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the gold-token loss, differences from the first target, and the fusion loss."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.figures import style
    from fusionchat.figures.losses import loss_curves, loss_words, read_losses

    rows = chosen(args.rows, [name for name, _ in args.loss], "--loss")
    losses = {name: read_losses(path) for name, (path,) in args.loss}
    figure = loss_curves(losses, rows, style.looks(args.rows))
    style.save(figure, args.output, loss_words(losses, rows))


if __name__ == "__main__":
    cli.run(main)
