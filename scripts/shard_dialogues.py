"""Divide a file of dialogues into shards of consecutive dialogues, for jobs of their own."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--dialogues", type=cli.existing_path, required=True, help="Parquet file of dialogues"
    )
    parser.add_argument("--shards", type=cli.positive_int, help="number of shards")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--output-folder", type=cli.output_folder, help="writes 0000.parquet, 0001.parquet, ..."
    )
    where.add_argument("--output", type=Path, nargs="+", help="one file a shard, in order")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read, divide, write."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.output is None and args.shards is None:
        parser.error("--output-folder needs --shards")
    if args.output and args.shards not in (None, len(args.output)):
        parser.error("--shards and the number of --output files differ")
    from fusionchat.dialogues.dialogue import read_dialogues, shard, write_dialogues

    shards = args.shards or len(args.output)
    outputs = args.output or [args.output_folder / f"{i:04d}.parquet" for i in range(shards)]
    for path, part in zip(outputs, shard(read_dialogues(args.dialogues), shards), strict=True):
        write_dialogues(path, part)


if __name__ == "__main__":
    cli.run(main)
