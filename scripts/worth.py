"""Say of each source, from a sample of the dialogues, whether it is worth a training."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    path = cli.existing_path
    parser.add_argument(
        "--alignment",
        type=path,
        nargs="+",
        required=True,
        help="JSON files of report_alignment, one a source",
    )
    cli.add_settings(parser, "alignment", "min_mass")
    parser.add_argument("--output", type=Path, required=True, help="Markdown file, also printed")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read what was aligned, write the verdicts and print them."""
    args = build_parser().parse_args(argv)
    from fusionchat.errors import UserError
    from fusionchat.files import atomic_file, read_json_object
    from fusionchat.fusion import worth

    sections, sample = [], 0
    for path in args.alignment:
        report = read_json_object(path)
        try:
            sections.append(worth.section(report, args.min_mass))
            sample = max(sample, report["dialogues"] + report["excluded"])
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is not a file of report_alignment: {error!r}") from error
    text = "\n".join([f"{sample} dialogues, chosen by their hash.\n", *sections])
    with atomic_file(args.output) as partial:
        partial.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    cli.run(main)
