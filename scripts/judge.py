"""Rate one model's answers with a judge, in FastChat's judgment records."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.files import write_jsonl
from fusionchat.mt_bench.answers import read_answers
from fusionchat.mt_bench.judging.command_line import (
    JudgeOptions,
    add_judge_options,
    judge_all,
    make_judge,
    parse,
)
from fusionchat.mt_bench.judging.judges import make_tasks
from fusionchat.mt_bench.questions import read_questions


def build_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(__doc__)
    parser.add_argument("--answers", type=cli.existing_path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="judgment records (.jsonl)")
    cli.add_settings(parser, "mt_bench.judges.*", "repeats")
    add_judge_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Judge every turn of every answer and write the judgment file."""
    args = parse(build_parser(), argv)
    questions = read_questions(args.questions)
    tasks = make_tasks(questions, read_answers(args.answers, questions), args.repeats)
    write_jsonl(
        args.output, judge_all(make_judge(cli.options_of(JudgeOptions, args), questions), tasks)
    )


if __name__ == "__main__":
    cli.run(main)
