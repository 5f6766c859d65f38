"""Merge models by VaRM: each unit follows the targets in proportion to how much they changed it."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.merging.options import add_input_options, add_output_options, named


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    add_input_options(parser)
    parser.add_argument(
        "--granularity",
        choices=("model", "layer", "module", "matrix", "parameter"),
        default="matrix",
        help="the unit that gets a weight of its own",
    )
    parser.add_argument(
        "--change", choices=("square", "abs"), default="square", help="measure of change"
    )
    parser.add_argument(
        "--normalise", choices=("sum", "softmax"), default="sum", help="from changes to weights"
    )
    parser.add_argument(
        "--variation",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="table of measure_variation for a target; without tables the changes are measured now",
    )
    add_output_options(parser, "merge_varm")
    parser.add_argument(
        "--dry-run", action="store_true", help="print sizes, memory and weights; write nothing"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Merge as the command line says."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.merging.program import open_inputs, run_merge
    from fusionchat.merging.variation import check_digests, known_weights, measure_or_read
    from fusionchat.merging.varm import VarmMerge
    from fusionchat.merging.varm_report import report, weights_by_element

    inputs = open_inputs(args)
    by_element = args.granularity == "parameter"
    measured_on_the_way = by_element or (args.granularity == "matrix" and not args.dry_run)
    tables = measure_or_read(inputs, named(args.variation, "--variation"), measured_on_the_way)
    formula = {key: getattr(args, key) for key in ("granularity", "change", "normalise")}
    known = known_weights(inputs, tables, **formula) if tables else None
    method = VarmMerge(**formula, known=known)
    if args.dry_run:
        own = weights_by_element(inputs, method) if by_element else known
        print(report(inputs, own, args.granularity, args.threads))
    else:
        run_merge(args, inputs, method, formula, lambda digests: check_digests(tables, digests))


if __name__ == "__main__":
    cli.run(main)
