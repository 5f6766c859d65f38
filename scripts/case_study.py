"""Write one question with several models' answers and judgments side by side (Tables 3 to 6)."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.figures.arguments import chosen
from fusionchat.scores.rows import add_rows


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    parser.add_argument("--questions", type=cli.existing_path, required=True, help="questions file")
    parser.add_argument("--answers", type=cli.existing_path, nargs="+", required=True)
    parser.add_argument("--judgments", type=cli.existing_path, nargs="+", required=True)
    parser.add_argument("--judge", default=None, help="whose judgments")
    add_rows(parser)
    parser.add_argument("--show", nargs="+", required=True, help="the models, in order")
    parser.add_argument(
        "--question",
        type=int,
        default=None,
        help="question id; when left out the paper's (93), else that on which models differ most",
    )
    parser.add_argument("--paper", type=cli.existing_path, default=None, help="the paper's ratings")
    parser.add_argument(
        "--generated", action="store_true", help="the questions are no ones that the paper shows"
    )
    parser.add_argument(
        "--output",
        type=cli.prefix,
        required=True,
        help="prefix of the .md, .html, .tex and .csv files",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Collect the answers and write them."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.mt_bench.questions import read_questions
    from fusionchat.tables import case_study
    from fusionchat.tables.examples import Examples

    rows = chosen(args.rows, args.show, "--show")
    questions = read_questions(args.questions)
    examples = Examples(questions, args.answers, args.judgments, args.judge)
    question = case_study.choose_question(
        questions,
        args.question,
        lambda question: examples.ratings([row.name for row in rows], question),
        ()
        if args.generated or not args.paper
        else case_study.printed_questions(args.paper, questions),
    )
    answered = {row.name: examples.answered(row.name, question) for row in rows}
    shown = args.paper and not args.generated
    paper = case_study.read_ratings(args.paper, question) if shown else {}
    case_study.write(args.output, question, rows, answered, paper)


if __name__ == "__main__":
    cli.run(main)
