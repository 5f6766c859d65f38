"""Merge models by a fixed weighted average of their weights."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.merging.options import (
    add_input_options,
    add_output_options,
    add_weight_option,
    target_weights,
)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    add_input_options(parser)
    add_weight_option(parser)
    add_output_options(parser, "merge_linear")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Merge as the command line says."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    import numpy as np

    from fusionchat.merging.program import open_inputs, run_merge
    from fusionchat.merging.streaming import LinearMerge

    inputs = open_inputs(args)
    weights = target_weights(args.weight, list(inputs.targets))
    method = LinearMerge(np.array(list(weights.values())))
    run_merge(args, inputs, method, {"weights": weights})


if __name__ == "__main__":
    cli.run(main)
