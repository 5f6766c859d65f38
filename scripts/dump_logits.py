"""Store a model's top-k log-probabilities at every response position of some dialogues.

What is done survives a kill: run the same command again and it goes on. For a model that does not
fit one GPU start it under torchrun with as many processes as --devices (tensor parallelism), or
without torchrun (layers spread over the GPUs).
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.logits.options import add_forward_options, start_torch


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    add_forward_options(parser, "logits.dtype")
    cli.add_settings(parser, "logits", "top_k")
    parser.add_argument(
        "--max-length",
        type=cli.positive_int,
        help="longer dialogues are recorded but not scored, as those beyond the model's own limit",
    )
    parser.add_argument(
        "--exact-steps-for",
        type=cli.existing_path,
        metavar="PIVOT",
        help="folder of the pivot: store what makes the transfer to its tokenizer exact",
    )
    parser.add_argument(
        "--part", type=cli.positive_int, default=1024, help="dialogues a kill can cost at most"
    )
    parser.add_argument("--output", type=Path, required=True, help="Parquet file")
    parser.add_argument("--report", type=Path, help="JSON file: what was and was not scored")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Load the model, score what is missing part by part, join the parts."""
    args = build_parser().parse_args(argv)
    start_torch(args.threads, args.device)
    from fusionchat.files import write_json
    from fusionchat.logits.api import DumpOptions, ForwardOptions, dump_logits

    options = cli.options_of(DumpOptions, args)
    facts = dump_logits(cli.options_of(ForwardOptions, args), args.output, options)
    if facts:  # the first process
        logging.info("%s", facts)
        if args.report:
            write_json(args.report, facts)


if __name__ == "__main__":
    cli.run(main)
