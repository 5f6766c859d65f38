"""Write Table 2: VaRM by merging granularity, by category and by turn, beside the paper."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.tables.arguments import add_score_arguments, checked_baseline, present


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add_score_arguments(parser, "the row that all others are compared with (the paper's: matrix)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read the scores, compute every number once and write the table in four formats."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.scores.benchmark import read_benchmark
    from fusionchat.scores.paper import read_paper
    from fusionchat.tables import turns, views
    from fusionchat.tables.table import write_tables

    baseline = checked_baseline(args.rows, args.baseline)
    paper = read_paper(args.paper, args.rows) if args.paper else None
    benchmark = read_benchmark(args.scores, args.judge)
    findings = views.find(benchmark, args.rows, baseline, args.judge_model)
    by_turn = turns.turn_scores(findings)
    tables = present(
        views.score_table(findings, "Table 2: VaRM by merging granularity", {}),
        turns.turn_table(findings, by_turn),
        views.comparison_table(findings),
        views.paper_table(findings, paper, verdict=args.compare == "verdicts") if paper else None,
    )
    records = views.score_records(findings, paper)
    write_tables(args.output, tables, turns.with_turns(records, by_turn))


if __name__ == "__main__":
    cli.run(main)
