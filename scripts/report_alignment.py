"""Report how well a source was aligned with the pivot; stop where too little was kept."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli


def fraction(text: str) -> float:
    """An argparse type: a number from 0 to 1."""
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def figure_path(text: str) -> Path:
    """An argparse type: the name of an SVG or PNG file."""
    path = Path(text)
    if path.suffix not in (".svg", ".png"):
        raise argparse.ArgumentTypeError(f"{text} does not end in .svg or .png")
    return path


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    path = cli.existing_path
    for name, what in (
        ("aligned", "files of transfer_logits"),
        ("spans", "files of align_tokens"),
        ("pivot-logits", "the pivot's logit stores"),
        ("source-logits", "the source's logit stores"),
    ):
        parser.add_argument(
            f"--{name}", type=path, nargs="+", required=True, help=f"{what}, all shards in order"
        )
    parser.add_argument(
        "--dialogues", type=path, nargs="+", default=[], help="files that name their categories"
    )
    parser.add_argument("--vocabulary", type=path, required=True, help="the map_vocabulary file")
    parser.add_argument("--pivot-model", type=path, required=True, help="folder of the pivot")
    parser.add_argument("--source-model", type=path, required=True, help="folder of the source")
    cli.add_settings(parser, "alignment", "min_mass")
    parser.add_argument("--output", type=Path, required=True, help="Markdown file")
    parser.add_argument("--json", type=Path, help="JSON file with the same numbers")
    parser.add_argument("--figure", type=figure_path, help="SVG or PNG file")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read what the stage counted, write the report and the figure, check the threshold."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.alignment import contest, vocabulary
    from fusionchat.alignment import quality as report
    from fusionchat.alignment.response_tokens import load_table
    from fusionchat.errors import UserError
    from fusionchat.files import atomic_file, write_json
    from fusionchat.logits.store import check_shards
    from fusionchat.readers.parquet import check_disjoint

    files = [args.aligned, args.spans, args.pivot_logits, args.source_logits]
    if len({len(paths) for paths in files}) != 1:
        raise UserError(
            "--aligned, --spans, --pivot-logits, --source-logits: one file a shard each"
        )
    check_disjoint(args.aligned)
    shards = [report.Shard(*paths) for paths in zip(*files, strict=True)]
    pivot = load_table(args.pivot_model, args.pivot_logits[0])
    source = load_table(args.source_model, args.source_logits[0])
    quality = report.read_quality(args.aligned)
    provenance = check_shards(args.aligned, ("method", "rules", "vocabulary"))
    settings = {
        "pivot": args.pivot_model.name,
        "source": args.source_model.name,
        "method": provenance["method"],
        "rules": provenance["rules"],
    }
    known = vocabulary.read(args.vocabulary, pivot, source)
    scores = contest.cross_entropies(args.aligned), contest.cross_entropies(args.pivot_logits)
    named = contest.by_category(contest.categories(args.dialogues), *scores)
    contests = {report.ALL: contest.contest(*scores), **named}
    lost = report.bytes_lost(quality, shards)
    values = report.facts(quality, pivot, source, known, settings, contests, lost)
    said = logging.info if contest.teaches(values) else logging.warning
    said("%s", contest.verdict(values))
    text = report.markdown(values, report.side_by_side(shards, quality, pivot, source, lost))
    with atomic_file(args.output) as partial:
        partial.write_text(text, encoding="utf-8")
    if args.json:
        write_json(args.json, values)
    if args.figure:
        with atomic_file(args.figure) as partial:
            report.draw(values, quality, partial, args.figure.suffix)
    if quality.kept < args.min_mass - report.ROUNDING:
        logging.info("%s", text)  # a workflow removes the files of a step that stops
        raise UserError(
            f"{settings['source']}: only {quality.kept:.2%} of its listed probability reached the "
            f"pivot's vocabulary, less than the {args.min_mass:.2%} asked for (min_mass), with "
            f"{quality.rates['fallback']:.2%} of the tokens without a distribution; choose another "
            "method or mapping strategy, or leave this source out"
        )


if __name__ == "__main__":
    cli.run(main)
