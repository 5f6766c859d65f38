"""Generate the scale model's benchmark questions and tokenizer text from one seed."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.categories import CATEGORIES
from fusionchat.files import atomic_file, write_jsonl, write_manifest
from fusionchat.progress import progress
from fusionchat.world.generator import World
from fusionchat.world.mixture import tokenizer_lines

FIRST_QUESTION_ID = 1001


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    parser.add_argument("--seed", type=int, required=True, help="seed of the world")
    parser.add_argument(
        "--questions", type=cli.positive_int, default=40, help="benchmark questions a category"
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="folder: questions.jsonl, text.txt"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Write the world's files, the manifest last."""
    args = build_parser().parse_args(argv)
    world = World(args.seed)
    questions = [
        exercise
        for category in progress(CATEGORIES, desc="questions", unit="category")
        for exercise in world.distinct(category, "questions", args.questions)
    ]
    records = [
        exercise.question(number) for number, exercise in enumerate(questions, FIRST_QUESTION_ID)
    ]
    write_jsonl(args.output / "questions.jsonl", records)
    with atomic_file(args.output / "text.txt") as partial:
        partial.write_text("\n".join(tokenizer_lines(world)) + "\n", encoding="utf-8")
    write_manifest(args.output, seed=args.seed, questions_per_category=args.questions)


if __name__ == "__main__":
    cli.run(main)
