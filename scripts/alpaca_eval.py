"""Write the table of AlpacaEval's win rates, raw and length-controlled, from annotations."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.scores.rows import add_rows, check_rows
from fusionchat.tables.arguments import add_table_output, add_values


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--annotations", type=cli.existing_path, required=True, help="of judge_alpaca (.jsonl)"
    )
    parser.add_argument(
        "--gamed", type=cli.existing_path, required=True, help="AlpacaEval's df_gamed.csv"
    )
    parser.add_argument("--paper", type=cli.existing_path, help="printed numbers (.csv)")
    add_rows(parser)
    add_values(parser)
    add_table_output(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Fit, and write the table."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.alpaca_eval.data import read_gamed
    from fusionchat.alpaca_eval.rates import answers, by_model, rate_columns, read_annotations
    from fusionchat.alpaca_eval.table import printed, rate_records, rate_table
    from fusionchat.scores.metric_files import write_columns
    from fusionchat.tables.table import write_tables

    check_rows(args.rows)
    annotations = read_annotations(args.annotations)
    models = {model: answers(own) for model, own in by_model(annotations).items()}
    columns = rate_columns(annotations, read_gamed(args.gamed))
    paper = printed(args.paper, args.rows) if args.paper else {}
    judge, baseline = annotations[0]["annotator"], annotations[0]["generator_1"]
    table = rate_table(columns, models, args.rows, paper, judge, baseline)
    write_tables(args.output, [table], rate_records(columns, models, paper, judge, baseline))
    write_columns(args.values, columns)


if __name__ == "__main__":
    cli.run(main)
