"""Generate the scale model's benchmark questions and tokenizer text from one seed."""

import argparse
from collections.abc import Sequence
from typing import Any

from fusionchat import cli
from fusionchat.categories import CATEGORIES
from fusionchat.files import write_jsonl, write_manifest
from fusionchat.output_folder import output_folder
from fusionchat.progress import progress
from fusionchat.world.generator import World
from fusionchat.world.mixture import tokenizer_lines

FIRST_QUESTION_ID = 1001


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    cli.add_settings(parser, "data.world", "seed")
    cli.add_settings(parser, "data.world", "questions")
    parser.add_argument(
        "--output", type=cli.output_folder, required=True, help="folder: questions.jsonl, text.txt"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Write the world's files, the manifest last."""
    args = build_parser().parse_args(argv)
    world = World(args.seed)
    with output_folder(args.output, "make_world") as folder:
        write_jsonl(folder / "questions.jsonl", questions(world, args.questions))
        text = "\n".join(tokenizer_lines(world)) + "\n"
        (folder / "text.txt").write_text(text, encoding="utf-8")
        facts = {"seed": args.seed, "questions_per_category": args.questions}
        write_manifest(folder, "make_world", **facts)


def questions(world: World, count: int) -> list[dict[str, Any]]:
    """`count` distinct questions of each category, numbered from `FIRST_QUESTION_ID`."""
    exercises = [
        exercise
        for category in progress(CATEGORIES, desc="questions", unit="category")
        for exercise in world.distinct(category, "questions", count)
    ]
    return [exercise.question(n) for n, exercise in enumerate(exercises, FIRST_QUESTION_ID)]


if __name__ == "__main__":
    cli.run(main)
