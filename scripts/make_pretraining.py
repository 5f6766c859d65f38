"""Generate the dialogues that one source model of the scale model is trained on from scratch."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.categories import CATEGORIES
from fusionchat.files import write_json
from fusionchat.world.generator import World
from fusionchat.world.mixture import as_record, specialist_weights


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    cli.add_settings(parser, "data.world", "seed")
    parser.add_argument("--name", required=True, help="the model: each one draws its own dialogues")
    cli.add_settings(parser, "models.*.pretrain", "dialogues")
    parser.add_argument(
        "--strong",
        nargs="*",
        default=[],
        choices=CATEGORIES,
        metavar="CATEGORY",
        help="categories of a specialist; without any, all categories are equally frequent",
    )
    cli.add_settings(parser, "models.*.pretrain", "strong_share")
    parser.add_argument("--output", type=Path, required=True, help="JSON as FuseChat-Mixture")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Write the dialogues of one model."""
    args = build_parser().parse_args(argv)
    weights = specialist_weights(args.strong, args.strong_share)
    exercises = World(args.seed).weighted(args.name, weights, args.dialogues)
    write_json(args.output, [as_record(exercise) for exercise in exercises])


if __name__ == "__main__":
    cli.run(main)
