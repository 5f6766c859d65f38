"""What the programs that judge share: the judge's options, and a run with its progress."""

import argparse
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fusionchat import cli
from fusionchat.errors import UserError
from fusionchat.mt_bench.endpoint.command_line import (
    ENDPOINT_ONLY,
    ENDPOINT_SPELT,
    add_endpoint_options,
    open_endpoint,
)
from fusionchat.mt_bench.endpoint.limits import BudgetReachedError
from fusionchat.mt_bench.endpoint.settings import EndpointOptions
from fusionchat.mt_bench.judging.judge_prompts import NAMES, JudgePrompts, read_judge_prompts
from fusionchat.mt_bench.judging.judges import (
    Judge,
    Prompts,
    RuleJudge,
    T,
    Task,
    Verdict,
    judge_tasks,
    judgment_record,
)
from fusionchat.mt_bench.judging.ratings import RULES, Rule
from fusionchat.mt_bench.questions import Question
from fusionchat.progress import progress

if TYPE_CHECKING:
    from fusionchat.mt_bench.judging.chat_judge import ChatJudge

MODEL_OPTION = "--judge-model"
# Options for which a judge has no use, and what is spelt otherwise on the command line.
LLM_ONLY = ("model", "prompts", "references", "attempts", "rating", "batch", "poll_seconds")
UNUSED: dict[str, tuple[str, ...]] = {"rule": (*LLM_ONLY, *ENDPOINT_ONLY), "openai": ()}
SPELT = ENDPOINT_SPELT | {"model": MODEL_OPTION}


def add_judge_options(parser: argparse.ArgumentParser) -> None:
    """Add which judge rates, what it is shown, and where it is served."""
    add = parser.add_argument
    add(
        "--judge",
        choices=["rule", "openai"],
        required=True,
        help="rule: the program that checks the scale model's answers; openai: an endpoint",
    )
    add("--questions", type=cli.existing_path, required=True)
    add("--judge-name", help="name in the records, else the judge model's or rule")
    add("--prompts", type=cli.existing_path, help="FastChat's judge_prompts.jsonl")
    add(
        "--references",
        type=cli.existing_path,
        help="reference answers (.jsonl), else the questions' own",
    )
    add("--attempts", type=cli.positive_int, default=3, help="asks for a usable rating")
    add(
        "--rating",
        choices=RULES,
        default="first",
        help="which rating of a reply counts: the first, as FastChat reads it, or the last, for a "
        "judge that reasons in its text",
    )
    add(
        "--batch",
        action="store_true",
        help="hand requests over as a batch, which takes up to a day at half the price",
    )
    add(
        "--poll-seconds",
        type=cli.positive_number,
        default=30.0,
        help="how often to ask whether a batch is done",
    )
    add_endpoint_options(parser, MODEL_OPTION, "model")


@dataclass(frozen=True)
class JudgeOptions:
    """Which judge rates, what it is shown, and where it is served; see `ChatJudge`.

    Without `references`, the file of the questions must hold the reference answers.
    """

    judge: Literal["rule", "openai"]
    questions: Path
    judge_name: str | None = None
    prompts: Path | None = None
    references: Path | None = None
    attempts: int = 3
    rating: Rule = "first"
    batch: bool = False
    poll_seconds: float = 30.0
    concurrency: int = 8
    endpoint: EndpointOptions = field(default_factory=EndpointOptions)
    store: Path | None = None


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> Any:
    """The parsed options; one that has no effect on the judge is a `UserError`."""
    args = parser.parse_args(argv)
    cli.refuse_unused(parser, args, UNUSED[args.judge], f"with --judge {args.judge}", SPELT)
    cli.limit_threads(args.threads)
    return args


def make_judge(options: JudgeOptions, questions: Sequence[Question]) -> Judge[Task]:
    """The judge that the options name."""
    if options.judge == "rule":
        return RuleJudge(options.judge_name or "rule")
    return chat_judge(options, judge_prompts(options, questions, NAMES))


def judge_prompts(
    options: JudgeOptions, questions: Sequence[Question], names: Sequence[str]
) -> JudgePrompts:
    """FastChat's judge prompts of these names, checked to fit the questions."""
    if not options.prompts:
        raise UserError("--prompts: an LLM judge needs FastChat's judge_prompts.jsonl")
    references = options.references or options.questions
    prompts = read_judge_prompts(options.prompts, references, names)
    prompts.check(questions)
    return prompts


def chat_judge(options: JudgeOptions, prompts: Prompts[T], **more: Any) -> "ChatJudge[T]":
    """The LLM that the options name, shown its tasks by these prompts; `more` as in `ChatJudge`."""
    from fusionchat.mt_bench.endpoint.batch import BatchRunner
    from fusionchat.mt_bench.judging.chat_judge import ChatJudge

    endpoint = open_endpoint(options.endpoint, options.store, MODEL_OPTION)
    return ChatJudge(
        options.judge_name or options.endpoint.model,
        endpoint,
        prompts,
        options.concurrency,
        options.attempts,
        options.rating,
        BatchRunner(endpoint, options.poll_seconds) if options.batch else None,
        **more,
    )


def judge_all(judge: Judge[Task], tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """The judgment records of the tasks, in their order, with a progress bar."""
    return records_of(judge, tasks, judgment_record)


def records_of(
    judge: Judge[T], tasks: Sequence[T], record: Callable[[Judge[T], T, Verdict], dict[str, Any]]
) -> list[dict[str, Any]]:
    """What `record` makes of each task's verdict, in their order, with a progress bar."""
    records = {}
    try:
        with progress(total=len(tasks), desc=judge.name, unit="judgment") as bar:
            for task, verdict in judge_tasks(judge, tasks):
                records[task] = record(judge, task, verdict)
                bar.set_postfix_str(judge.status(), refresh=False)
                bar.update()
    except BudgetReachedError as error:
        raise UserError(
            f"{error}; {len(records)} of {len(tasks)} judgments are made and stored. "
            "Raise the limit and run again: what is stored is not paid for twice"
        ) from None
    finally:
        judge.close()
    missing = Counter(one["missing"] for one in records.values() if "missing" in one)
    kinds = "".join(f", {count} without a rating ({kind})" for kind, count in missing.items())
    logging.info("%d judgments%s. %s", len(records), kinds, judge.status())
    return [records[task] for task in tasks]
