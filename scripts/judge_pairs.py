"""Let a judge compare every model's answers with a baseline's, in FastChat's pairwise records."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.files import write_jsonl
from fusionchat.mt_bench.answers import read_all_answers
from fusionchat.mt_bench.judging.command_line import (
    JudgeOptions,
    add_judge_options,
    chat_judge,
    judge_prompts,
    parse,
    records_of,
)
from fusionchat.mt_bench.judging.judges import Judge, RuleJudge
from fusionchat.mt_bench.questions import Question, read_questions
from fusionchat.pairwise.matches import (
    Game,
    RulePairJudge,
    check_baseline,
    game_record,
    make_games,
    match_records,
    opponents,
)


def build_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--answers", type=cli.existing_path, nargs="+", required=True, help="a file for each model"
    )
    parser.add_argument("--baseline", required=True, help="model to compare the others with")
    parser.add_argument("--output", type=Path, required=True, help="pairwise records (.jsonl)")
    add_judge_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Judge every turn of every question in both orders and write the records."""
    args = parse(build_parser(), argv)
    questions = read_questions(args.questions)
    answers = read_all_answers(args.answers, questions)
    check_baseline(list(answers), args.baseline)
    games = make_games(questions, answers, opponents(list(answers), args.baseline))
    judge = pair_judge(cli.options_of(JudgeOptions, args), questions)
    write_jsonl(args.output, match_records(games, records_of(judge, games, game_record)))


def pair_judge(options: JudgeOptions, questions: Sequence[Question]) -> Judge[Game]:
    """The judge that the options name."""
    if options.judge == "rule":
        return RulePairJudge(RuleJudge(options.judge_name or "rule"))
    from fusionchat.pairwise.pair_prompts import NAMES, PairPrompts, read_winner

    prompts = PairPrompts(judge_prompts(options, questions, NAMES))
    return chat_judge(options, prompts, read=read_winner)


if __name__ == "__main__":
    cli.run(main)
