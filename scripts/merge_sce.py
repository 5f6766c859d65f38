"""Merge models by SCE: select, calculate, erase (arXiv 2408.07990)."""

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
    cli.add_settings(parser, "merges.*", "select_topk")
    parser.add_argument(
        "--no-erase", action="store_true", help="keep changes against the majority sign"
    )
    add_output_options(parser, "merge_sce")
    add_dry_run_option(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Merge as the command line says."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.merging.api import SceOptions, merge_sce
    from fusionchat.merging.inputs import InputOptions
    from fusionchat.merging.merged_folder import OutputOptions, dry_run_report

    inputs = cli.options_of(InputOptions, args, targets=named_folders(args.target, "--target"))
    output = cli.options_of(OutputOptions, args)
    sce = SceOptions(args.select_topk, erase=not args.no_erase)
    merged = merge_sce(inputs, output, sce, write=not args.dry_run)
    if args.dry_run:
        print(dry_run_report(merged, args.threads))


if __name__ == "__main__":
    cli.run(main)
