"""Draw how the tokens of each source align with the pivot's and how much probability arrives."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.figures.arguments import add_figure_arguments, chosen, named_files


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add_figure_arguments(parser)
    kind = {"type": named_files, "nargs": "+", "required": True, "metavar": "NAME=FILE[,FILE...]"}
    parser.add_argument("--aligned", **kind, help="shards of transfer_logits, by source")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Draw both panels and write the numbers beside them as csv."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from pathlib import Path

    from fusionchat.alignment.quality import read_quality
    from fusionchat.figures import style
    from fusionchat.figures.alignment import alignment_figure, records
    from fusionchat.tables.table import write_csv

    sources = chosen(args.rows, [name for name, _ in args.aligned], "--aligned")
    qualities = {name: read_quality(paths) for name, paths in args.aligned}
    figure = alignment_figure(qualities, sources, style.looks(args.rows))
    kept = [f"{row.label} {qualities[row.name].kept:.1%}" for row in sources]
    words = "Kinds of alignment by source, and listed probability kept: " + ", ".join(kept) + "."
    style.save(figure, args.output, words)
    write_csv(Path(f"{args.output}.csv"), records(qualities))


if __name__ == "__main__":
    cli.run(main)
