"""Merge models by VaRM: each unit follows the targets in proportion to how much they changed it."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.merging.options import (
    add_dry_run_option,
    add_input_options,
    add_output_options,
    named_folders,
)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    add_input_options(parser)
    cli.add_settings(parser, "merges.*", "granularity", "change", "normalise")
    parser.add_argument(
        "--variation",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="table of measure_variation for a target; without tables the changes are measured now",
    )
    add_output_options(parser, "merge_varm")
    add_dry_run_option(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Merge as the command line says."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.merging.api import VarmOptions, merge_varm
    from fusionchat.merging.inputs import InputOptions
    from fusionchat.merging.merged_folder import OutputOptions, dry_run_report

    inputs = cli.options_of(InputOptions, args, targets=named_folders(args.target, "--target"))
    output = cli.options_of(OutputOptions, args)
    variation = named_folders(args.variation, "--variation")
    varm = cli.options_of(VarmOptions, args, variation=variation)
    merged = merge_varm(inputs, output, varm, write=not args.dry_run)
    if args.dry_run:
        print(dry_run_report(merged, args.threads))


if __name__ == "__main__":
    cli.run(main)
