"""Map a source's token ids to the pivot's, from the pair counts of all its shards."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.schema import default


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    path = cli.existing_path
    parser.add_argument(
        "--spans", type=path, required=True, nargs="+", help="files of align_tokens, all shards"
    )
    parser.add_argument("--pivot-model", type=path, required=True, help="folder of the pivot")
    parser.add_argument("--source-model", type=path, required=True, help="folder of the source")
    parser.add_argument(
        "--strategy",
        choices=["statistics", "statistics_reference", "min_edit", "exact"],
        default=default("alignment.vocabulary"),
        help="for tokens without an exact partner: the most frequent partner (paper), the smallest "
        "distance x sigmoid(count) (released code), the smallest edit distance, or none",
    )
    parser.add_argument("--output", type=Path, required=True, help="Parquet file")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Sum the pair counts, choose a partner for each id, write the map."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    import numpy as np

    from fusionchat.alignment import spans_file, vocabulary
    from fusionchat.models import token_table

    facts = spans_file.read_facts(args.spans[0])
    pivot = token_table.load(args.pivot_model, facts.get("pivot_end_of_turn"))
    source = token_table.load(args.source_model, facts.get("source_end_of_turn"))
    for path in args.spans:
        vocabulary.check_tokenizers(path, spans_file.read_facts(path), pivot, source)
    tables = [spans_file.read_pairs(path) for path in args.spans]
    pairs = vocabulary.Pairs.sum(tables, pivot.size)
    chosen = vocabulary.build(pivot, source, pairs, args.strategy)
    vocabulary.write(args.output, chosen, pivot, source, args.strategy)
    counts = np.bincount(chosen.how, minlength=len(vocabulary.HOW))
    summary = [f"{n} {name}" for name, n in zip(vocabulary.HOW, counts, strict=True) if n]
    logging.info("%d source ids: %s", source.size, ", ".join(summary))


if __name__ == "__main__":
    cli.run(main)
