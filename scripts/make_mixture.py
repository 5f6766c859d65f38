"""Generate the scale model's fine-tuning mixture, with right answers or a share of wrong ones."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.files import write_json
from fusionchat.schema import default
from fusionchat.world.generator import World
from fusionchat.world.mixture import as_record, fine_tuning_mixture


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    cli.add_settings(parser, "data.world", "seed")
    parser.add_argument(
        "--mixture",
        type=cli.positive_int,
        required=True,
        help="dialogues to draw, the ones to be held out included",
    )
    parser.add_argument(
        "--heldout",
        type=cli.count,
        default=default("data.heldout"),
        help="dialogues that prepare_dialogues will keep from training; their answers stay right",
    )
    parser.add_argument(
        "--wrong-answers",
        type=cli.number_from(0, 1),
        default=default("data.world.wrong_answers"),
        help="share of the training dialogues that get the answers of others of their category",
    )
    parser.add_argument(
        "--dialogues",
        type=cli.positive_int,
        help="training dialogues to keep, always the first ones; all when absent",
    )
    parser.add_argument("--output", type=Path, required=True, help="JSON as FuseChat-Mixture")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Write the mixture."""
    args = build_parser().parse_args(argv)
    mixture = fine_tuning_mixture(
        World(args.seed), args.mixture, args.heldout, args.wrong_answers, args.dialogues
    )
    write_json(args.output, [as_record(exercise) for exercise in mixture])


if __name__ == "__main__":
    cli.run(main)
