"""Evaluate a model on tasks of lm-evaluation-harness: a Parquet file with a score a document."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.leaderboard.settings import EvaluationOptions, add_options, go_offline
from fusionchat.logits.options import start_torch
from fusionchat.schema import default


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    add_options(parser)
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16"], default=default("precision.evaluation")
    )
    parser.add_argument(
        "--device",
        choices=["cpu", "cuda", "auto"],
        default="cpu",
        help="auto: spread over all visible GPUs",
    )
    parser.add_argument("--output", type=Path, required=True, help="Parquet file")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Check tasks and model, run what is not finished yet, write the file."""
    args = build_parser().parse_args(argv)
    go_offline()
    start_torch(args.threads, args.device)
    from fusionchat.leaderboard.api import evaluate_tasks

    lists = {name: tuple(getattr(args, name)) for name in ("tasks", "folders", "data")}
    evaluate_tasks(cli.options_of(EvaluationOptions, args, **lists), args.output)


if __name__ == "__main__":
    cli.run(main)
