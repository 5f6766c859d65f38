"""Answer MT-Bench's two-turn questions with one model, in FastChat's answer records."""

import argparse
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fusionchat import cli
from fusionchat.dialogues.options import (
    add_rendering_options,
    template_checksum,
)
from fusionchat.errors import UserError
from fusionchat.files import MANIFEST, checksums, sha256, write_jsonl
from fusionchat.mt_bench.answers import Journal, length_statistics
from fusionchat.mt_bench.endpoint.command_line import (
    ENDPOINT_ONLY,
    ENDPOINT_SPELT,
    add_endpoint_options,
    open_endpoint,
)
from fusionchat.mt_bench.endpoint.limits import BudgetReachedError
from fusionchat.mt_bench.endpoint.settings import EndpointOptions
from fusionchat.mt_bench.questions import Question, read_questions
from fusionchat.progress import progress
from fusionchat.schema import default

# What an engine has no use for is refused, so that nobody believes it was heeded.
RENDERING = ("template", "template_model", "end_of_turn", "special_text", "keep_separators")
CHECKPOINT_ONLY = (*RENDERING, "batch_size", "device", "dtype")
SAMPLING = (
    *("system_message", "seed", "top_k", "temperature_scale"),
    *("max_new_tokens", "choices"),
)
UNUSED = {
    "local": ("api_model", *ENDPOINT_ONLY),
    "vllm": ("api_model", *ENDPOINT_ONLY),
    "api": ("model", *CHECKPOINT_ONLY),
    "published": ("api_model", *ENDPOINT_ONLY, *CHECKPOINT_ONLY, *SAMPLING),
}


def build_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--engine",
        choices=["local", "vllm", "api", "published"],
        default=default("mt_bench.engine"),
        help="local or vllm: --model is a checkpoint; api: a model at --base-url; published: "
        "--model is an answer file that somebody else made",
    )
    parser.add_argument("--model", type=cli.existing_path, help="checkpoint folder or answer file")
    parser.add_argument("--model-id", required=True, help="name of the model in the records")
    parser.add_argument("--questions", type=cli.existing_path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="answer records (.jsonl)")
    parser.add_argument(
        "--keep-separators",
        action="store_true",
        help="keep the template's end-of-turn token instead of the tokenizer's own",
    )
    cli.add_settings(parser, "mt_bench", "max_new_tokens", "batch_size", "choices")
    parser.add_argument("--seed", type=int, help="0 for checkpoints; sent to an endpoint if given")
    parser.add_argument(
        "--top-k",
        type=cli.positive_int,
        help="sample among so many tokens (FastChat: 50, its library's default), else among all",
    )
    parser.add_argument(
        "--temperature-scale",
        type=float,
        default=1.0,
        help="factor on the temperatures of the categories; 0 is greedy everywhere",
    )
    parser.add_argument(
        "--device", default="cpu", help="cpu, cuda, or auto: spread over all visible GPUs"
    )
    parser.add_argument(
        "--dtype",
        default=default("precision.evaluation"),
        choices=["float32", "bfloat16", "float16"],
    )
    add_rendering_options(parser)
    add_endpoint_options(parser, "--api-model", "api_model")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Answer what the journal does not hold yet, then write the answer file."""
    parser = build_parser()
    args = parser.parse_args(argv)
    cli.limit_threads(args.threads)
    cli.refuse_unused(
        parser, args, UNUSED[args.engine], f"with --engine {args.engine}", ENDPOINT_SPELT
    )
    questions = read_questions(args.questions)
    if args.engine != "api" and args.model is None:
        raise UserError(f"--model: is needed for the engine {args.engine}")
    journal = Journal(args.output, run_identity(args))
    # What an endpoint answered is in its store, and failures are judged over all questions.
    resumed = {} if args.engine == "api" else journal.records
    waiting = [q for q in questions if q.question_id not in resumed]
    if resumed:
        logging.info("%d of %d answers are there already", len(resumed), len(questions))
    answered = answer(args, waiting) if waiting else iter(())
    with progress(total=len(waiting), desc=args.model_id, unit="question") as bar:
        for records in answered:
            journal.append(records)
            bar.update(len(records))
    records = [journal.records[q.question_id] for q in questions]
    write_jsonl(args.output, records)
    journal.remove()
    logging.info(length_statistics(records))


def run_identity(args: argparse.Namespace) -> dict[str, Any]:
    """What decides the answers: the model, the questions, and the options that matter to them."""
    names = ("engine", "model_id", "template", "keep_separators", "system_message", "choices")
    names += ("end_of_turn", "special_text", "max_new_tokens", "seed", "top_k")
    names += ("temperature_scale", "dtype", "api_model")
    identity = {name: getattr(args, name) for name in names}
    identity["questions"] = sha256(args.questions)
    identity["template_sha256"] = template_checksum(args.template)
    if args.model is not None:
        manifest = args.model / MANIFEST
        if args.model.is_file() or manifest.exists():
            identity["model"] = sha256(args.model if args.model.is_file() else manifest)
        else:
            identity["model"] = checksums(args.model)
    return identity


def answer(args: argparse.Namespace, questions: Sequence[Question]) -> Iterator[list[dict]]:
    """Answer records of these questions by the engine that the options name, opened at once."""
    if args.engine == "published":
        from fusionchat.mt_bench.answering.published import published_answers

        return iter([published_answers(args.model, args.model_id, questions)])
    engine = api_engine(args) if args.engine == "api" else checkpoint_engine(args)
    return answers_within_budget(engine, args.model_id, questions)


def answers_within_budget(
    engine: Any, model_id: str, questions: Sequence[Question]
) -> Iterator[list[dict]]:
    """The engine's records; a budget that is reached is a `UserError`."""
    try:
        yield from engine.answer(model_id, questions)
    except BudgetReachedError as error:
        raise UserError(
            f"{error}. Raise the limit and run again: what is stored is not paid for twice"
        ) from None


def checkpoint_engine(args: argparse.Namespace) -> Any:
    """The engine that loads a checkpoint."""
    from fusionchat.mt_bench.answering.dialogue_engine import AnswerOptions

    options = cli.options_of(AnswerOptions, args)
    if args.engine == "vllm":
        from fusionchat.mt_bench.answering.vllm_engine import VllmEngine

        return VllmEngine(args.model, options, args.device, args.dtype)
    import torch

    from fusionchat.mt_bench.answering.local_engine import LocalEngine

    torch.set_num_threads(args.threads)
    return LocalEngine(args.model, options, args.device, args.dtype)


def api_engine(args: argparse.Namespace) -> Any:
    """The engine that asks an endpoint."""
    from fusionchat.mt_bench.answering.api_engine import ApiEngine, ApiOptions

    served = cli.options_of(EndpointOptions, args, model=args.api_model)
    endpoint = open_endpoint(served, args.store, "--api-model")
    return ApiEngine(endpoint, cli.options_of(ApiOptions, args), args.concurrency)


if __name__ == "__main__":
    cli.run(main)
