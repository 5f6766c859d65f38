"""Merge models by one of mergekit's methods, in float32, into the pivot's layout."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.merging.methods.mergekit_configs import METHODS
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
    parser.add_argument("--method", choices=METHODS, required=True)
    add_input_options(parser)
    add_weight_option(parser)
    cli.add_settings(parser, "merges.*", "density", "select_topk")
    parser.add_argument("--base", metavar="NAME", help="slerp's target at t = 0 (default: first)")
    cli.add_settings(parser, "merges.*", "seed")
    parser.add_argument(
        "--no-normalise",
        action="store_true",
        help="take weights as they are, as scales of the changes (task_arithmetic, ties, "
        "dare_linear); by default they are divided by their sum",
    )
    add_output_options(parser, "merge_mergekit")
    add_dry_run_option(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Merge as the command line says."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.merging.api import merge_mergekit
    from fusionchat.merging.inputs import InputOptions
    from fusionchat.merging.merged_folder import OutputOptions, dry_run_report
    from fusionchat.merging.methods.mergekit_runs import MergekitOptions

    inputs = cli.options_of(InputOptions, args, targets=named_folders(args.target, "--target"))
    output = cli.options_of(OutputOptions, args)
    weights = target_weights(args.weight, list(inputs.targets))
    options = cli.options_of(
        MergekitOptions, args, weights=weights, normalise=not args.no_normalise
    )
    merged = merge_mergekit(inputs, output, options, write=not args.dry_run)
    if args.dry_run:
        print(dry_run_report(merged, args.threads))


if __name__ == "__main__":
    cli.run(main)
