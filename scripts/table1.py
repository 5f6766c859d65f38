"""Write Table 1: scores of all models with intervals, comparisons and the paper's numbers."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.scores.rows import add_metrics
from fusionchat.tables.arguments import (
    add_score_arguments,
    checked_baseline,
    null_pair,
    present,
)


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add_score_arguments(parser, "the row that all others are compared with (the paper's: CLM)")
    parser.add_argument("--title", default="Table 1: MT-Bench scores", help="of the first table")
    add_metrics(parser)
    parser.add_argument(
        "--winners",
        type=cli.existing_path,
        help="csv of figure_winners; a note names sources that teach nothing",
    )
    parser.add_argument(
        "--subject", default=None, help="the merge to compare with source LLMs and other models"
    )
    parser.add_argument(
        "--null",
        type=null_pair,
        action="append",
        default=[],
        metavar="NAME:NAME:WHY",
        help="two models that must tie, for the null controls; repeat",
    )
    parser.add_argument(
        "--equal-changes",
        type=cli.named_path,
        metavar="NAME=FILE",
        help="a target's table of measure_variation, for VaRM's null control",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read the scores, compute every number once and write the table in four formats."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.errors import UserError
    from fusionchat.scores.benchmark import read_benchmark
    from fusionchat.scores.equal_changes import equal_changes
    from fusionchat.scores.metric_files import read_metrics
    from fusionchat.scores.paper import read_paper
    from fusionchat.scores.rows import find_row
    from fusionchat.scores.teachers import idle_note, read_shares
    from fusionchat.tables import others, precision, printed, views
    from fusionchat.tables.metrics import metric_record, metric_table
    from fusionchat.tables.table import write_tables

    baseline = checked_baseline(args.rows, args.baseline)
    shown = [row for row in args.rows if row.group == printed.GROUP]
    if shown and not args.paper:
        raise UserError(f"--row: {shown[0].name} is a row of the paper; give its csv with --paper")
    rows = [row for row in args.rows if row not in shown]
    paper = read_paper(args.paper, rows) if args.paper else None
    columns = read_metrics(args.nll, args.metrics)
    benchmark = read_benchmark(args.scores, args.judge)
    findings = views.find(benchmark, rows, baseline, args.judge_model)
    idle = idle_note(read_shares(args.winners)) if args.winners else ""
    scores = views.score_table(findings, args.title, columns, [idle] if idle else [])
    subject = find_row(rows, args.subject, "--subject") if args.subject else None
    beside = others.against_others(findings, subject) if subject else {}
    controls = precision.null_controls(findings, args.null)
    equal = equal_changes(*args.equal_changes) if args.equal_changes else None
    tables = present(
        printed.with_printed(scores, shown, paper, findings.benchmark.categories),
        views.percent_table(findings),
        views.comparison_table(findings),
        others.others_table(findings, subject, beside) if subject else None,
        *(metric_table(findings, column) for column in columns),
        views.paper_table(findings, paper, verdict=args.compare == "verdicts") if paper else None,
        precision.precision_table(findings),
        precision.noise_table(findings),
        precision.null_table(findings, controls, equal),
    )
    records = [
        record
        | views.comparison_record("subject_minus", beside.get(row.name))
        | metric_record(columns, row.name, baseline.name)
        | precision.precision_record(findings, controls, equal, row.name)
        for row, record in zip(rows, views.score_records(findings, paper), strict=True)
    ]
    write_tables(args.output, tables, printed.printed_records(shown, paper) + records)


if __name__ == "__main__":
    cli.run(main)
