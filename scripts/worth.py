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
    parser.add_argument(
        "--source-logits", type=path, nargs="+", required=True, help="logit stores in that order"
    )
    parser.add_argument("--pivot-logits", type=path, required=True, help="the pivot's logit store")
    parser.add_argument("--dialogues", type=path, required=True, help="the sample, a Parquet file")
    cli.add_settings(parser, "alignment", "min_mass")
    parser.add_argument("--output", type=Path, required=True, help="Markdown file, also printed")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read what was aligned, write the verdicts and print them."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if len(args.alignment) != len(args.source_logits):
        parser.error("--alignment and --source-logits: one file a source each")
    from fusionchat.errors import UserError
    from fusionchat.files import atomic_file, read_json_object
    from fusionchat.fusion import worth

    names, pivot = worth.categories(args.dialogues), worth.cross_entropies(args.pivot_logits)
    parts = [f"{len(names)} dialogues, chosen by their hash.\n"]
    for report, logits in zip(args.alignment, args.source_logits, strict=True):
        rows = worth.by_category(names, pivot, worth.cross_entropies(logits))
        try:
            parts.append(worth.section(read_json_object(report), rows, args.min_mass))
        except (KeyError, TypeError) as error:
            raise UserError(f"{report} is not a file of report_alignment: {error!r}") from error
    text = "\n".join(parts)
    with atomic_file(args.output) as partial:
        partial.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    cli.run(main)
