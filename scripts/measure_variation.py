"""Measure how much a target changed against the pivot, tensor by tensor."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--pivot", type=Path, required=True, help="folder of the pivot model")
    parser.add_argument("--target", type=Path, required=True, help="folder of the fine-tuned model")
    parser.add_argument("--output", type=Path, required=True, help="Parquet table to write")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Measure as the command line says."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.merging.inputs import InputOptions, Inputs
    from fusionchat.merging.variation import measure, write_variation
    from fusionchat.progress import progress

    inputs = Inputs.open(InputOptions(args.pivot, {"target": args.target}))
    size = sum(source.nbytes for source in inputs.sources(True).values())
    with progress(total=size, unit="B", unit_scale=True, desc=args.output.name) as bar:
        table = measure(inputs, bar.update)["target"]
    write_variation(args.output, table)


if __name__ == "__main__":
    cli.run(main)
