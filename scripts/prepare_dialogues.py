"""Check a mixture of conversations, hold some out, and split long ones at turn boundaries."""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from fusionchat import cli
from fusionchat.dialogues.options import RenderingOptions, add_rendering_options
from fusionchat.schema import part


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--mixture",
        type=cli.existing_path,
        required=True,
        help="conversations: a JSON list, JSON lines or Parquet; ShareGPT, messages or Alpaca",
    )
    parser.add_argument(
        "--pivot-model",
        type=cli.existing_path,
        required=True,
        help="folder with the tokenizer that measures length",
    )
    cli.add_settings(parser, "data", "max_length", "heldout", "on_error")
    parser.add_argument("--limit", type=cli.positive_int, help=part("data.limit")["description"])
    parser.add_argument("--exclude", type=cli.existing_path, help="identifiers to leave out")
    parser.add_argument("--output", type=Path, required=True, help="Parquet file for training")
    parser.add_argument("--heldout-output", type=Path, required=True, help="Parquet file held out")
    parser.add_argument("--report", type=Path, help="JSON file of counts")
    add_rendering_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read, check, hold out, split, write."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.dialogues import mixture
    from fusionchat.dialogues.dialogue import Dialogue, write_dialogues
    from fusionchat.dialogues.renderer import open_renderer
    from fusionchat.errors import UserError
    from fusionchat.files import write_json
    from fusionchat.progress import progress

    renderer = open_renderer(args.pivot_model, cli.options_of(RenderingOptions, args))

    def length(dialogue: Dialogue) -> int:
        return len(renderer.encode(dialogue).input_ids)

    report, skip = mixture.Report(), args.on_error == "skip"
    dialogues = mixture.read_mixture(args.mixture, skip, report)
    dialogues = mixture.renderable(dialogues, renderer.encode, skip, report)
    report.special_text = sum(renderer.special_texts(one) > 0 for one in dialogues)
    names = mixture.read_exclusions(args.exclude) if args.exclude else set()
    train, heldout = mixture.hold_out(dialogues, args.heldout)
    report.held_out = len(heldout)
    train = mixture.limit(train, args.limit, report)
    rows = [
        list(mixture.split_dialogues(progress(ones, desc=name), length, args.max_length, report))
        for ones, name in ((train, "training"), (heldout, "held out"))
    ]
    rows[0] = mixture.exclude(rows[0], names, report)
    if not rows[0]:
        raise UserError(
            f"{args.mixture}: none of {report.records} records is left for training; check "
            "--max-length, --heldout, --limit and --exclude"
        )
    report.training_rows = write_dialogues(args.output, rows[0])
    report.heldout_rows = write_dialogues(args.heldout_output, rows[1])
    for position, reason in report.malformed.items():
        logging.warning("skipped record %d of %s: %s", position, args.mixture, reason)
    for name, reason in report.not_rendered.items():
        logging.warning("skipped dialogue %s of %s: %s", name, args.mixture, reason)
    logging.info("%s", asdict(report))
    if args.report:
        write_json(args.report, asdict(report))


if __name__ == "__main__":
    cli.run(main)
