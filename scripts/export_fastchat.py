"""Lay out answers and judgments as FastChat's show_result and qa_browser read them."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.files import write_manifest
from fusionchat.mt_bench.fastchat_export import export
from fusionchat.mt_bench.questions import read_questions
from fusionchat.output_folder import output_folder
from fusionchat.pairwise.win_rates import read_matches


def build_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(__doc__)
    parser.add_argument("--questions", type=cli.existing_path, required=True)
    parser.add_argument("--answers", type=cli.existing_path, nargs="+", required=True)
    parser.add_argument("--judgments", type=cli.existing_path, nargs="+", required=True)
    parser.add_argument("--references", type=cli.existing_path)
    parser.add_argument("--matches", type=cli.existing_path, help="of judge_pairs (.jsonl)")
    parser.add_argument("--judge", help="which judge's judgments, if the files hold several")
    parser.add_argument(
        "--judge-name", default="gpt-4", help="name in FastChat's files; qa_browser reads gpt-4"
    )
    parser.add_argument(
        "--output",
        type=cli.output_folder,
        required=True,
        help="folder from which FastChat's tools are started",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Write the folder, whole or not at all."""
    args = build_parser().parse_args(argv)
    inputs = [args.questions, *args.answers, *args.judgments]
    inputs += [args.matches] if args.matches else []
    with output_folder(args.output, "export_fastchat", inputs) as folder:
        export(
            folder,
            args.questions,
            read_questions(args.questions),
            args.answers,
            args.judgments,
            judge=args.judge,
            judge_name=args.judge_name,
            references=args.references,
            matches=read_matches(args.matches) if args.matches else (),
        )
        write_manifest(folder, "export_fastchat")


if __name__ == "__main__":
    cli.run(main)
