"""Rate one model's answers with a judge, in FastChat's judgment records."""

import argparse
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.errors import UserError
from fusionchat.files import write_jsonl
from fusionchat.mt_bench.answers import read_answers
from fusionchat.mt_bench.endpoint.command_line import add_endpoint_options, open_endpoint
from fusionchat.mt_bench.endpoint.limits import BudgetReachedError
from fusionchat.mt_bench.judging.judges import (
    Judge,
    RuleJudge,
    judge_tasks,
    judgment_record,
    make_tasks,
)
from fusionchat.mt_bench.judging.ratings import RULES
from fusionchat.mt_bench.questions import Question, read_questions
from fusionchat.progress import progress


def build_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--judge",
        choices=["rule", "openai"],
        required=True,
        help="rule: the program that checks the scale model's answers; openai: an endpoint",
    )
    parser.add_argument("--answers", type=cli.existing_path, required=True)
    parser.add_argument("--questions", type=cli.existing_path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="judgment records (.jsonl)")
    parser.add_argument("--repeats", type=cli.positive_int, default=1, help="judgments an answer")
    parser.add_argument("--judge-name", help="name in the records, else the judge model's or rule")
    parser.add_argument("--prompts", type=cli.existing_path, help="FastChat's judge_prompts.jsonl")
    parser.add_argument(
        "--references",
        type=cli.existing_path,
        help="reference answers (.jsonl), else the questions' own",
    )
    parser.add_argument(
        "--attempts", type=cli.positive_int, default=3, help="asks for a usable rating"
    )
    parser.add_argument(
        "--rating",
        choices=RULES,
        default="first",
        help="which rating of a reply counts: the first, as FastChat reads it, or the last, for a "
        "judge that reasons in its text",
    )
    add_endpoint_options(parser, "--judge-model")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Judge every turn of every answer and write the judgment file."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    questions = read_questions(args.questions)
    tasks = make_tasks(questions, read_answers(args.answers, questions), args.repeats)
    judge = make_judge(args, questions)
    records = {}
    try:
        with progress(total=len(tasks), desc=judge.name, unit="judgment") as bar:
            for task, verdict in judge_tasks(judge, tasks):
                records[task] = judgment_record(judge, task, verdict)
                bar.set_postfix_str(judge.status(), refresh=False)
                bar.update()
    except BudgetReachedError as error:
        raise UserError(
            f"{error}; {len(records)} of {len(tasks)} judgments are made and stored. "
            "Raise the limit and run again: what is stored is not paid for twice"
        ) from None
    finally:
        judge.close()
    write_jsonl(args.output, [records[task] for task in tasks])
    missing = Counter(record["missing"] for record in records.values() if "missing" in record)
    kinds = "".join(f", {count} without a rating ({kind})" for kind, count in missing.items())
    logging.info("%d judgments%s. %s", len(records), kinds, judge.status())


def make_judge(args: argparse.Namespace, questions: Sequence[Question]) -> Judge:
    """The judge that the options name."""
    if args.judge == "rule":
        return RuleJudge(args.judge_name or "rule")
    from fusionchat.mt_bench.judging.chat_judge import ChatJudge
    from fusionchat.mt_bench.judging.judge_prompts import read_judge_prompts

    if not args.prompts:
        raise UserError("--prompts: an LLM judge needs FastChat's judge_prompts.jsonl")
    prompts = read_judge_prompts(args.prompts, args.references or args.questions)
    prompts.check(questions)
    endpoint = open_endpoint(args, "--judge-model")
    name = args.judge_name or args.served_model
    return ChatJudge(name, endpoint, prompts, args.concurrency, args.attempts, args.rating)


if __name__ == "__main__":
    cli.run(main)
