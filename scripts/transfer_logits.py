"""Move a source's distributions to the pivot's vocabulary and response positions."""

import argparse
import logging
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
    from fusionchat.alignment.aligned_store import AlignedWriter, Inputs, transfers
    from fusionchat.alignment.response_tokens import load_table
    from fusionchat.progress import progress

    pivot = load_table(args.pivot_model, args.pivot_logits)
    source = load_table(args.source_model, args.source_logits)
    inputs = Inputs(args.pivot_logits, args.source_logits, args.spans, args.vocabulary)
    with AlignedWriter(args.output, inputs, pivot, source, args.rules) as writer:
        for row in progress(transfers(inputs, pivot, source, args.rules), unit="dialogue"):
            writer.write(*row)
    logging.info("%s", writer.summary())


if __name__ == "__main__":
    cli.run(main)
