"""Negative log-likelihood of a model on held-out dialogues, in nats a response token and byte."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.logits.options import add_forward_options, start_torch


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    add_forward_options(parser, "precision.evaluation")
    parser.add_argument("--name", help="the model's name in the result (its folder's by default)")
    parser.add_argument("--output", type=Path, required=True, help="JSON file")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Load the model, score the dialogues, write the sums."""
    args = build_parser().parse_args(argv)
    start_torch(args.threads, args.device)
    from fusionchat.files import write_json
    from fusionchat.logits.api import ForwardOptions, measure_nll
    from fusionchat.models import processes

    facts = measure_nll(cli.options_of(ForwardOptions, args))
    if processes.is_first_process():
        name = args.name or args.model.name
        write_json(args.output, {"model": name, "dialogues": args.dialogues.name, **facts})


if __name__ == "__main__":
    cli.run(main)
