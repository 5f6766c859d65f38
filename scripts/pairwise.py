"""Write the table of win rates against a baseline, from pairwise records."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.scores.rows import add_rows
from fusionchat.tables.arguments import add_table_output, add_values, checked_baseline


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--matches", type=cli.existing_path, required=True, help="records of judge_pairs (.jsonl)"
    )
    add_rows(parser)
    add_values(parser)
    add_table_output(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Count wins, test them, and write the table."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.pairwise.win_rates import order, read_matches, win_column, win_rates
    from fusionchat.pairwise.win_table import win_records, win_table
    from fusionchat.replicates import split_replicate
    from fusionchat.scores.metric_files import write_columns
    from fusionchat.tables.table import write_tables

    matches = read_matches(args.matches)
    name, judge = split_replicate(matches[0]["model_2"])[0], matches[0]["judge"][0]
    baseline = checked_baseline(args.rows, name)
    rates = win_rates(matches)
    table = win_table(rates, args.rows, baseline, judge, order(matches))
    write_tables(args.output, [table], win_records(rates, name, judge))
    write_columns(args.values, [win_column(matches)])


if __name__ == "__main__":
    cli.run(main)
