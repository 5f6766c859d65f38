"""Map a source's token ids to the pivot's, from the pair counts of all its shards."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.schema import default


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    path = cli.existing_path
    parser.add_argument(
        "--spans", type=path, required=True, nargs="+", help="files of align_tokens, all shards"
    )
    parser.add_argument("--pivot-model", type=path, required=True, help="folder of the pivot")
    parser.add_argument("--source-model", type=path, required=True, help="folder of the source")
    parser.add_argument(
        "--strategy",
        choices=["statistics", "statistics_reference", "min_edit", "exact"],
        default=default("alignment.vocabulary"),
        help="for tokens without an exact partner: the most frequent partner (paper), the smallest "
        "distance x sigmoid(count) (released code), the smallest edit distance, or none",
    )
    parser.add_argument("--output", type=Path, required=True, help="Parquet file")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Sum the pair counts, choose a partner for each id, write the map."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.alignment.api import map_vocabulary

    map_vocabulary(args.spans, args.pivot_model, args.source_model, args.output, args.strategy)


if __name__ == "__main__":
    cli.run(main)
