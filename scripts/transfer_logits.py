"""Move a source's distributions to the pivot's vocabulary and response positions."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.schema import default


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    path = cli.existing_path
    parser.add_argument("--pivot-logits", type=path, required=True, help="the pivot's shard")
    parser.add_argument("--source-logits", type=path, required=True, help="the source's shard")
    parser.add_argument("--spans", type=path, required=True, help="the shard's align_tokens file")
    parser.add_argument("--vocabulary", type=path, required=True, help="the map_vocabulary file")
    parser.add_argument("--pivot-model", type=path, required=True, help="folder of the pivot")
    parser.add_argument("--source-model", type=path, required=True, help="folder of the source")
    parser.add_argument(
        "--rules",
        choices=["mass", "reference"],
        default=default("alignment.transfer"),
        help="probabilities by the chain rule, or the released code's rules",
    )
    parser.add_argument("--output", type=Path, required=True, help="Parquet file (logit store)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read the shard's files side by side, transfer dialogue by dialogue, write a logit store."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.alignment.api import Shard, transfer_logits

    shard = cli.options_of(Shard, args)
    transfer_logits(shard, args.spans, args.vocabulary, args.output, args.rules)


if __name__ == "__main__":
    cli.run(main)
