"""Store a model's top-k log-probabilities at every response position of some dialogues.

What is done survives a kill: run the same command again and it goes on. For a model that does not
fit one GPU start it under torchrun with as many processes as --devices (tensor parallelism), or
without torchrun (layers spread over the GPUs).
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.logits.options import add_forward_options, open_inputs


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    add_forward_options(parser, "logits.dtype")
    cli.add_settings(parser, "logits", "top_k")
    parser.add_argument(
        "--max-length",
        type=cli.positive_int,
        help="longer dialogues are recorded but not scored, as those beyond the model's own limit",
    )
    parser.add_argument(
        "--part", type=cli.positive_int, default=1024, help="dialogues a kill can cost at most"
    )
    parser.add_argument("--output", type=Path, required=True, help="Parquet file")
    parser.add_argument("--report", type=Path, help="JSON file: what was and was not scored")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Load the model, score what is missing part by part, join the parts."""
    args = build_parser().parse_args(argv)
    dialogues, model, renderer = open_inputs(args)
    from fusionchat.files import sha256, write_json
    from fusionchat.logits import dump
    from fusionchat.logits.parts import Parts, report
    from fusionchat.models import processes
    from fusionchat.models.finished import fingerprint
    from fusionchat.models.token_table import load as load_table
    from fusionchat.progress import progress

    limits = [length for length in (args.max_length, model.max_length) if length]
    settings = dump.Settings(args.token_budget, args.top_k, min(limits, default=None))
    provenance = {
        "model": args.model.name,
        "model_files": fingerprint(args.model),
        "vocabulary": load_table(args.model, renderer.end_of_turn).fingerprint,
        "vocab_size": model.vocab_size,
        "dialogues": sha256(args.dialogues),
        "dtype": args.dtype,
        "device": args.device,
        "devices": args.devices,
        "part": args.part,
        **vars(settings),
        **renderer.facts(),
    }
    starts = range(0, len(dialogues), args.part)
    store = Parts(args.output, provenance)
    first = processes.is_first_process()
    missing = processes.from_first_process(store.missing(len(starts)) if first else None)
    chunks = {index: dialogues[starts[index] : starts[index] + args.part] for index in missing}
    total = sum(map(len, chunks.values()))
    with progress(total=total, desc=args.model.name, unit="dialogue", disable=not first) as bar:
        for index, chunk in chunks.items():
            rows = dump.dump(model, renderer, chunk, settings, bar.update)
            if first:
                store.write(index, rows)
    processes.part_from_others()
    if not first:
        return
    store.finish(len(starts))
    facts = report(args.output)
    logging.info("%s", facts)
    if args.report:
        write_json(args.report, facts)


if __name__ == "__main__":
    cli.run(main)
