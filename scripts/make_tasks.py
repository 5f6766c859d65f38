"""Generate tasks of the scale model's world for lm-evaluation-harness: local YAML and documents."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.files import write_manifest
from fusionchat.output_folder import output_folder
from fusionchat.world.generator import World
from fusionchat.world.tasks import write_tasks


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    cli.add_settings(parser, "data.world", "seed")
    cli.add_settings(parser, "data.world", "questions")
    parser.add_argument(
        "--output", type=cli.output_folder, required=True, help="folder of the tasks"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Write the tasks, the manifest last."""
    args = build_parser().parse_args(argv)
    with output_folder(args.output, "make_tasks") as folder:
        write_tasks(World(args.seed), args.questions, folder, args.output)
        write_manifest(folder, "make_tasks", seed=args.seed, questions_per_category=args.questions)


if __name__ == "__main__":
    cli.run(main)
