"""Merge models by SCE: select, calculate, erase (arXiv 2408.07990)."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.merging.options import add_input_options, add_output_options, share


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    add_input_options(parser)
    parser.add_argument(
        "--select-topk",
        type=share,
        default=0.1,
        help="share of the elements, those varying most among the targets, that decide the weights",
    )
    parser.add_argument(
        "--no-erase", action="store_true", help="keep changes against the majority sign"
    )
    add_output_options(parser, "merge_sce")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Merge as the command line says."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.merging.program import open_inputs, run_merge
    from fusionchat.merging.sce import SceMerge

    inputs = open_inputs(args)
    settings = {"select_topk": args.select_topk, "erase": not args.no_erase}
    run_merge(args, inputs, SceMerge(**settings), settings)


if __name__ == "__main__":
    cli.run(main)
