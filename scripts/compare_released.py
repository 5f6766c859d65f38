"""Compare a released merged checkpoint with the formula, plain means and the targets themselves."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("--released", type=cli.named_path, required=True, metavar="NAME=FOLDER")
    add("--pivot", type=cli.existing_path, required=True, help="folder of the pivot")
    pairs = {"type": cli.named_path, "action": "append", "default": [], "metavar": "NAME=FOLDER"}
    add("--target", help="a fine-tuned target; repeat", required=True, **pairs)
    add("--candidate", help="a merged model that it may be; repeat", **pairs)
    add("--output", type=cli.prefix, required=True, help="prefix of .csv, .md, .tex and .html")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Compare, write the table and the fitted weights of each tensor."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    import torch

    from fusionchat.merging.released import compare
    from fusionchat.tables.table import Table, write_csv, write_tables

    torch.set_num_threads(args.threads)
    name, folder = args.released
    targets = dict(args.target)
    comparison = compare(folder, args.pivot, targets, dict(args.candidate))
    order = sorted(comparison.distances, key=comparison.relative)
    records = [
        {
            "model": other,
            "relative_distance": comparison.relative(other),
            "equal_share": comparison.distances[other].equal / comparison.elements,
            "largest_difference": comparison.distances[other].largest,
        }
        for other in order
    ]
    cells = [[r["model"], *(f"{v:.4g}" for v in list(r.values())[1:])] for r in records]
    verdict = comparison.verdict(name, list(targets))
    weights = ", ".join(
        f"{target} {weight:.4f} ({low:.4f} to {high:.4f})"
        for target, weight, (low, high) in zip(
            targets, comparison.coefficients(), comparison.intervals(), strict=True
        )
    )
    table = Table(
        f"What {name} is nearest to",
        ["model", "relative distance", "equal elements", "largest difference"],
        {"": cells},
        [
            verdict,
            f"Relative distance: 0 is the same model, 1 is as far away as the pivot from {name}.",
            f"Best mixture of the targets' changes, with 95% intervals: {weights}; "
            f"{comparison.left_over():.4f} of the change is left over.",
        ],
    )
    print(verdict)
    write_tables(args.output, [table], records)
    tensors = [
        {"tensor": tensor, **dict(zip(targets, map(float, row), strict=True))}
        for tensor, row in comparison.by_tensor.items()
    ]
    write_csv(Path(f"{args.output}_tensors.csv"), tensors)


if __name__ == "__main__":
    cli.run(main)
