"""Let an LLM prefer each model's answers or AlpacaEval's baseline, in AlpacaEval's annotations."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.alpaca_eval.comparisons import (
    LOGPROBS,
    annotation,
    make_comparisons,
    read_preference,
    read_prompt,
)
from fusionchat.alpaca_eval.data import check_questions, read_outputs
from fusionchat.errors import UserError
from fusionchat.files import write_jsonl
from fusionchat.mt_bench.answers import read_all_answers
from fusionchat.mt_bench.judging.command_line import (
    JudgeOptions,
    add_judge_options,
    chat_judge,
    parse,
    records_of,
)
from fusionchat.mt_bench.questions import read_questions

PLAIN_TOKENS = 16  # of a reply that is one letter, where probabilities are not asked for


def build_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--answers", type=cli.existing_path, nargs="+", required=True, help="a file for each model"
    )
    parser.add_argument(
        "--outputs", type=cli.existing_path, required=True, help="the baseline's (outputs.json)"
    )
    parser.add_argument("--output", type=Path, required=True, help="annotations (.jsonl)")
    cli.add_settings(parser, "alpaca_eval", "seed", "logprobs")
    add_judge_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Judge every answer once, in a seeded order, and write the annotations."""
    args = parse(build_parser(), argv)
    if args.judge == "rule" or args.prompts is None:
        raise UserError("--judge: AlpacaEval needs --judge openai, and its prompt.txt as --prompts")
    questions, outputs = read_questions(args.questions), read_outputs(args.outputs)
    check_questions(questions, outputs)
    tasks = [
        task
        for answers in read_all_answers(args.answers, questions).values()
        for task in make_comparisons(answers, outputs, args.seed)
    ]
    options = cli.options_of(JudgeOptions, args)
    prompts = read_prompt(args.prompts, args.outputs)
    more = {"max_tokens": 1, "more": LOGPROBS} if args.logprobs else {"max_tokens": PLAIN_TOKENS}
    judge = chat_judge(options, prompts, read=read_preference, **more)
    write_jsonl(args.output, records_of(judge, tasks, annotation))


if __name__ == "__main__":
    cli.run(main)
