"""Draw what each stage cost: time and peak memory, from Snakemake's benchmark files."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--benchmarks", type=cli.existing_path, required=True, help="folder of the .tsv files"
    )
    parser.add_argument(
        "--output", type=cli.prefix, required=True, help="prefix of the .svg, .png and .csv files"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Sum the benchmark files by rule, draw them and write the sums as csv."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.figures import style
    from fusionchat.figures.costs import cost_figure, duration, read_costs
    from fusionchat.tables.table import write_csv

    costs = read_costs(args.benchmarks)
    dearest = ", ".join(f"{cost.rule} {duration(cost.seconds)}" for cost in costs[:3])
    style.save(cost_figure(costs), args.output, f"Wall time by rule; the longest are {dearest}.")
    write_csv(Path(f"{args.output}.csv"), [vars(cost) for cost in costs])


if __name__ == "__main__":
    cli.run(main)
