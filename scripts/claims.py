"""Write the paper's claims with their controls and verdicts, as tables and as a figure."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.scores.claims import add_claims
from fusionchat.scores.rows import add_metrics, add_rows, add_scores
from fusionchat.tables.arguments import add_table_output


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add_scores(parser)
    add_rows(parser)
    add_metrics(parser)
    add_claims(parser)
    parser.add_argument(
        "--figure", type=cli.prefix, required=True, help="prefix of the .svg and .png"
    )
    add_table_output(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Judge each claim by ratings and every other metric, and write what came out."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.figures import style
    from fusionchat.figures.claims import claim_figure
    from fusionchat.scores.benchmark import read_benchmark
    from fusionchat.scores.claims import by_metric, check_claims
    from fusionchat.scores.metric_files import read_metrics
    from fusionchat.tables.claims import claim_records, claim_table, claim_words
    from fusionchat.tables.table import write_tables

    check_claims(args.claims, args.rows)
    ratings = read_benchmark(args.scores, args.judge).column
    columns = [ratings, *(one for one in read_metrics(args.nll, args.metrics) if one.metric.unit)]
    measures = {column.metric: by_metric(args.claims, column) for column in columns}
    write_tables(args.output, [claim_table(measures, args.rows)], claim_records(measures))
    style.save(claim_figure(measures, args.rows), args.figure, claim_words(measures, args.rows))


if __name__ == "__main__":
    cli.run(main)
