"""Align a source's response tokens with the pivot's, and count the aligned pairs."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    path = cli.existing_path
    parser.add_argument("--pivot-logits", type=path, required=True, help="the pivot's shard")
    parser.add_argument("--source-logits", type=path, required=True, help="the source's shard")
    parser.add_argument("--pivot-model", type=path, required=True, help="folder with its tokenizer")
    parser.add_argument(
        "--source-model", type=path, required=True, help="folder with its tokenizer"
    )
    cli.add_settings(parser, "alignment", "method", "max_changed")
    parser.add_argument("--output", type=Path, required=True, help="Parquet file")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read both shards side by side, align dialogue by dialogue, write spans and pair counts."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.alignment.api import Shard, align_tokens

    align_tokens(cli.options_of(Shard, args), args.output, args.method, args.max_changed)


if __name__ == "__main__":
    cli.run(main)
