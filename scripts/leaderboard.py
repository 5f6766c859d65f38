"""Write the table of leaderboard tasks: scores, paired differences, and what was published."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.scores.leaderboard import task_column
from fusionchat.scores.rows import add_rows
from fusionchat.tables.arguments import add_table_output, checked_baseline


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("--scores", type=cli.existing_path, nargs="+", required=True, help="of evaluate_tasks")
    add(
        "--task",
        dest="tasks",
        type=task_column,
        action="append",
        required=True,
        metavar="NAME:AVERAGE:LABEL",
        help="a column; AVERAGE is documents, or subtasks for the mean of a group's; repeat",
    )
    add_rows(parser)
    add("--baseline", required=True, help="row that the others are compared with")
    add("--published", type=cli.existing_path, help="csv of published numbers")
    add_table_output(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read the documents, compare, write the tables."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.scores.leaderboard import (
        check_measured,
        compare,
        read_published,
        read_scores,
    )
    from fusionchat.tables.leaderboard import leaderboard_records, leaderboard_tables
    from fusionchat.tables.table import write_tables

    baseline = checked_baseline(args.rows, args.baseline)
    scores, tasks, limit = read_scores(args.scores, args.tasks)
    check_measured(scores, args.rows)
    comparisons = compare(scores, [row.name for row in args.rows], baseline.name)
    published = read_published(args.published) if args.published else None
    records = leaderboard_records(args.rows, tasks, scores, comparisons, published)
    source = published.source if published else ""
    write_tables(args.output, leaderboard_tables(records, tasks, baseline, limit, source), records)


if __name__ == "__main__":
    cli.run(main)
