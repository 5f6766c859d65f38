"""Measure parameters, memory and speed of the fused model against all sources together."""

import argparse
from collections.abc import Sequence

from fusionchat import cli
from fusionchat.figures.arguments import named_files
from fusionchat.schema import default
from fusionchat.scores.rows import add_rows, find_row
from fusionchat.tables.arguments import add_table_output


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add_rows(parser)
    kind = {"type": named_files, "required": True, "metavar": "NAME=FOLDER"}
    parser.add_argument("--fused", **kind, help="the merged model")
    parser.add_argument("--source", **kind, nargs="+", help="the source LLMs")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default=default("logits.dtype"))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batch", type=cli.positive_int, default=8, help="dialogues at a time")
    parser.add_argument("--prompt", type=cli.positive_int, default=64, help="prompt tokens")
    parser.add_argument("--tokens", type=cli.positive_int, default=64, help="tokens to generate")
    add_table_output(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Count the parameters, time the generation and write the table."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    import torch

    from fusionchat.progress import progress
    from fusionchat.tables import efficiency
    from fusionchat.tables.table import write_tables

    torch.set_num_threads(args.threads)
    fused = find_row(args.rows, args.fused[0], "--fused")
    sources = [find_row(args.rows, name, "--source") for name, _ in args.source]
    load = efficiency.Load(args.dtype, args.device, args.batch, args.prompt, args.tokens)
    folders = {name: paths[0] for name, paths in (args.fused, *args.source)}
    for folder in folders.values():
        efficiency.check(folder, load)
    measured = {
        name: efficiency.measure(folder, load)
        for name, folder in progress(folders.items(), desc="measure")
    }
    table = efficiency.efficiency_table(fused, sources, measured, load)
    write_tables(args.output, [table], efficiency.records(fused, sources, measured))


if __name__ == "__main__":
    cli.run(main)
