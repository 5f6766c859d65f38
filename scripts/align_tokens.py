"""Align a source's response tokens with the pivot's, and count the aligned pairs."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli

CHECKED = 32  # dialogues whose texts are compared, to notice files of other tokenizers


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    path = cli.existing_path
    parser.add_argument("--pivot-logits", type=path, required=True, help="the pivot's shard")
    parser.add_argument("--source-logits", type=path, required=True, help="the source's shard")
    parser.add_argument("--pivot-model", type=path, required=True, help="folder with its tokenizer")
    parser.add_argument(
        "--source-model", type=path, required=True, help="folder with its tokenizer"
    )
    cli.add_settings(parser, "alignment", "method")
    parser.add_argument("--output", type=Path, required=True, help="Parquet file")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Read both shards side by side, align dialogue by dialogue, write spans and pair counts."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.alignment.groups import Aligner, PairCounts, check_same_text
    from fusionchat.alignment.response_tokens import (
        dialogue_ids,
        load_table,
        pair,
        read_tokens,
        usable_ids,
    )
    from fusionchat.alignment.spans_file import SpansWriter
    from fusionchat.progress import progress

    pivot = load_table(args.pivot_model, args.pivot_logits)
    source = load_table(args.source_model, args.source_logits)
    aligner = Aligner(pivot, source, args.method)
    common = usable_ids(args.source_logits) & dialogue_ids(args.pivot_logits)
    pivot_rows = read_tokens(args.pivot_logits, pivot)
    source_rows = read_tokens(args.source_logits, source)
    counts, aligned, identical = PairCounts(source.size), 0, 0
    facts = {
        "method": args.method,
        "equal_tokenizers": aligner.equal,
        "pivot_tokenizer": pivot.fingerprint,
        "source_tokenizer": source.fingerprint,
        "pivot_end_of_turn": pivot.pieces[pivot.roles["eos"]],
        "source_end_of_turn": source.pieces[source.roles["eos"]],
        "excluded": len(dialogue_ids(args.pivot_logits)) - len(common),
    }
    with SpansWriter(args.output, facts) as writer:
        rows = pair(pivot_rows, source_rows, common, str(args.source_logits))
        for row, other in progress(rows, desc="align", unit="dialogue"):
            alignment = aligner.align(row, other)
            if not alignment.identity:
                if aligned < CHECKED:
                    check_same_text(pivot, source, row, other)
                counts.add(row.ids, other.ids, alignment)
            writer.write(row.dialogue_id, alignment)
            aligned, identical = aligned + 1, identical + alignment.identity
        writer.finish(*counts.table())
    logging.info(
        "%s tokenizers; %d dialogues aligned, %d of them token by token, %d excluded",
        "equal" if aligner.equal else "different",
        aligned,
        identical,
        facts["excluded"],
    )


if __name__ == "__main__":
    cli.run(main)
