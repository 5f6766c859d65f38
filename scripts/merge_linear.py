"""Merge models by a fixed weighted average of their weights."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.merging.options import (
    add_dry_run_option,
    add_input_options,
    add_output_options,
    add_weight_option,
    named_folders,
    target_weights,
)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    add_input_options(parser)
    add_weight_option(parser)
    add_output_options(parser, "merge_linear")
    add_dry_run_option(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Merge as the command line says."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.merging.api import merge_linear
    from fusionchat.merging.inputs import InputOptions
    from fusionchat.merging.merged_folder import OutputOptions, dry_run_report

    inputs = cli.options_of(InputOptions, args, targets=named_folders(args.target, "--target"))
    output = cli.options_of(OutputOptions, args)
    weights = target_weights(args.weight, list(inputs.targets))
    merged = merge_linear(inputs, output, weights, write=not args.dry_run)
    if args.dry_run:
        print(dry_run_report(merged, args.threads))


if __name__ == "__main__":
    cli.run(main)
