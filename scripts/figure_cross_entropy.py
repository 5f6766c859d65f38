"""Draw each dialogue's cross-entropy under the pivot against that under each source."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.figures.arguments import add_figure_arguments, chosen, named_files
from fusionchat.scores.rows import find_row


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add_figure_arguments(parser)
    kind = {"type": named_files, "required": True, "metavar": "NAME=FILE[,FILE...]"}
    parser.add_argument("--pivot", **kind, help="logit shards of the pivot")
    parser.add_argument("--source", **kind, nargs="+", help="logit shards of each source")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Draw a panel a source."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.figures import style
    from fusionchat.figures.teachers import cross_entropies, entropy_words
    from fusionchat.scores.teachers import read_entropies

    pivot = find_row(args.rows, args.pivot[0], "--pivot")
    sources = chosen(args.rows, [name for name, _ in args.source], "--source")
    entropies = {name: read_entropies(paths) for name, paths in (args.pivot, *args.source)}
    figure = cross_entropies(entropies, pivot, sources, style.looks(args.rows))
    style.save(figure, args.output, entropy_words(entropies, pivot, sources))


if __name__ == "__main__":
    cli.run(main)
