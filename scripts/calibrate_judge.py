"""Measure how far a judge agrees with people, on the published votes on MT-Bench answers."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.files import write_jsonl
from fusionchat.mt_bench.judging.command_line import (
    JudgeOptions,
    add_judge_options,
    judge_all,
    make_judge,
    parse,
)
from fusionchat.mt_bench.judging.human_votes import (
    agreement_with_people,
    read_votes,
    voted_tasks,
)
from fusionchat.mt_bench.judging.ratings import NO_RATING
from fusionchat.mt_bench.questions import read_questions
from fusionchat.tables.table import write_csv


def build_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--votes",
        type=cli.existing_path,
        required=True,
        help="lmsys/mt_bench_human_judgments (.parquet), or its rows as .jsonl",
    )
    parser.add_argument("--judgments", type=Path, required=True, help="judgment records (.jsonl)")
    parser.add_argument("--output", type=Path, required=True, help="agreement (.csv)")
    add_judge_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Judge the answers that people voted on; compare the judge's votes with theirs."""
    args = parse(build_parser(), argv)
    questions = read_questions(args.questions)
    votes = read_votes(args.votes)
    tasks = voted_tasks(votes, questions)
    judge = make_judge(cli.options_of(JudgeOptions, args), questions)
    records = judge_all(judge, tasks)
    scores = {
        (task.question.question_id, task.model, task.turn): (
            None if record["score"] == NO_RATING else record["score"]
        )
        for task, record in zip(tasks, records, strict=True)
    }
    rows = agreement_with_people(votes, scores, judge.name)
    write_jsonl(args.judgments, records)
    write_csv(args.output, rows)


if __name__ == "__main__":
    cli.run(main)
