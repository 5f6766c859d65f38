"""Write the paper's claims with their controls and verdicts, as tables and as a figure."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.scores.claims import add_claims
from fusionchat.scores.rows import add_rows, add_scores
from fusionchat.tables.arguments import add_table_output


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add_scores(parser)
    add_rows(parser)
    parser.add_argument(
        "--nll", type=cli.existing_path, nargs="*", default=[], help="files of measure_nll"
    )
    add_claims(parser)
    parser.add_argument("--figure", type=Path, required=True, help="prefix of the .svg and .png")
    add_table_output(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Judge each claim by ratings and likelihood and write what came out."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.figures import style
    from fusionchat.figures.claims import claim_figure
    from fusionchat.scores.benchmark import read_benchmark
    from fusionchat.scores.claims import by_likelihood, by_ratings, check_claims
    from fusionchat.scores.likelihood import read_likelihoods
    from fusionchat.tables.claims import claim_records, claim_table, claim_words
    from fusionchat.tables.table import write_tables

    check_claims(args.claims, args.rows)
    ratings = by_ratings(args.claims, read_benchmark(args.scores, args.judge))
    likelihoods = by_likelihood(args.claims, read_likelihoods(args.nll)) if args.nll else []
    table = claim_table(ratings, likelihoods, args.rows)
    measures = {"rating": ratings, "nll_byte": likelihoods}
    write_tables(args.output, [table], claim_records(measures))
    figure = claim_figure(ratings, likelihoods, args.rows)
    style.save(figure, args.figure, claim_words(measures, args.rows))


if __name__ == "__main__":
    cli.run(main)
