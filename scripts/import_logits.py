"""Take a model's top-k log-probabilities from a dump that the paper's authors released.

The dump is a folder of Arrow or Parquet files with the columns input_ids, attention_mask, labels,
per_step_logits, per_step_indices and metric_ce. Dialogues are found by their token ids; one that
the dump lacks is kept as a row that teaches nothing, and counted in the report.
"""

import argparse
import logging
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.dialogues.options import RenderingOptions, add_rendering_options


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    path = cli.existing_path
    parser.add_argument("--released", type=path, required=True, help="folder of the released dump")
    parser.add_argument(
        "--model", type=path, required=True, help="Hugging Face folder: tokenizer and config"
    )
    parser.add_argument(
        "--dialogues", type=path, nargs="+", required=True, help="Parquet files of dialogues"
    )
    cli.add_settings(parser, "logits", "top_k")
    parser.add_argument(
        "--output",
        type=cli.output_folder,
        required=True,
        help="folder: a store and a report (JSON) for each file of dialogues, named like it",
    )
    add_rendering_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Index the dump once, then look up the dialogues file by file."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.dialogues.dialogue import read_dialogues
    from fusionchat.dialogues.renderer import open_renderer
    from fusionchat.errors import UserError
    from fusionchat.files import sha256, write_json
    from fusionchat.logits import imported, released
    from fusionchat.logits.parts import report
    from fusionchat.logits.released_files import ReleasedFiles
    from fusionchat.logits.store import LogitWriter
    from fusionchat.models.token_table import load as load_table
    from fusionchat.progress import progress
    from fusionchat.readers.parquet import check_disjoint

    check_disjoint(args.dialogues)
    stems = [path.stem for path in args.dialogues]
    if twice := [stem for stem in stems if stems.count(stem) > 1]:
        raise UserError(f"--dialogues: two files are called {twice[0]}, as their stores would be")
    renderer = open_renderer(args.model, cli.options_of(RenderingOptions, args))
    files = ReleasedFiles(args.released)
    index = released.index(files)
    vocab_size = released.vocabulary_size(args.model)
    importer = released.Importer(files, index, renderer, args.top_k, vocab_size)
    provenance = {
        "model": args.model.name,
        "vocabulary": load_table(args.model, renderer.end_of_turn).fingerprint,
        "vocab_size": vocab_size,
        **renderer.facts(),
        "top_k": args.top_k,
        "max_length": index.width,
        "released": args.released.name,
        "normalised": imported.TOP_K,
        "token_ce": files.has_token_ce,
    }
    for path in args.dialogues:
        dialogues, outcome = read_dialogues(path), released.Outcome()
        store = args.output / f"{path.stem}.parquet"
        with LogitWriter(store, {**provenance, "dialogues": sha256(path)}) as writer:
            rows = importer.rows(dialogues, outcome)
            for row in progress(rows, total=len(dialogues), desc=path.stem, unit="dialogue"):
                writer.write(row)
        facts = {**report(store, outcome.missing), "other_labels": outcome.other_labels}
        logging.info("%s", facts)
        write_json(store.with_suffix(".json"), facts)


if __name__ == "__main__":
    cli.run(main)
