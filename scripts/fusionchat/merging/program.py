"""What the merging programs share: opening inputs, the output folder, weights, card, manifest."""

import argparse
import csv
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from fusionchat.errors import UserError
from fusionchat.files import MANIFEST, sha256, write_manifest
from fusionchat.merging.checkpoint_audit import stored_twice
from fusionchat.merging.checkpoint_writer import DTYPE_NAMES, copy_side_files
from fusionchat.merging.inputs import PIVOT, Inputs
from fusionchat.merging.options import named
from fusionchat.merging.streaming import Merge, Method, Outcome, Values
from fusionchat.output_folder import check_output, output_folder
from fusionchat.progress import progress

WEIGHTS = "weights.csv"
CARD = "README.md"
_CARD_START = "---\ntags:\n- merge\n"
_CARD_ROWS = 400
Units = dict[str, tuple[Values, int]]


def open_inputs(args: argparse.Namespace) -> Inputs:
    """The pivot and targets that the options name, audited; the output must spare them."""
    targets = {name: Path(value) for name, value in named(args.target, "--target").items()}
    if PIVOT in targets:
        raise UserError(f"--target {PIVOT}={targets[PIVOT]}: give it a name of its own")
    check_output(args.output, args.program, [args.pivot, *targets.values()])
    return Inputs.open(args.pivot, targets, args.allow_other_tokenizer)


def merged_folder(args: argparse.Namespace, inputs: Inputs) -> AbstractContextManager[Path]:
    """A folder that becomes `args.output`, whole or not at all."""
    folders = [source.folder for source in inputs.sources(True).values()]
    return output_folder(args.output, args.program, folders)


def run_merge(
    args: argparse.Namespace,
    inputs: Inputs,
    method: Method,
    settings: dict[str, Any],
    check: Callable[[dict[str, str]], None] = lambda digests: None,
) -> None:
    """Merge into `args.output`, which appears whole or not at all.

    `check` sees the digests of the inputs before the output gets its name.
    """
    with merged_folder(args, inputs) as folder:
        outcome = merge_tensors(args, folder, inputs, method)
        refuse_equal(args, outcome)
        check(outcome.digests)
        finish_folder(args, folder, inputs, method, settings, outcome)


def merge_tensors(
    args: argparse.Namespace, folder: Path, inputs: Inputs, method: Method
) -> Outcome:
    """Write the merged tensors into `folder`, with progress in bytes read."""
    size = sum(source.nbytes for source in inputs.sources(method.reads_pivot).values())
    with progress(total=size, unit="B", unit_scale=True, desc=args.output.name) as bar:
        merge = Merge(inputs, method, DTYPE_NAMES.get(args.dtype), bar.update)
        return merge.run(folder, round(args.shard_size * 1e9), args.threads)


def refuse_equal(args: argparse.Namespace, outcome: Outcome) -> None:
    """Raise `UserError` if the merge changed nothing, unless the options allow that."""
    if outcome.equal_to and not args.allow_equal:
        raise UserError(
            f"{args.output}: the merged model equals {' and '.join(outcome.equal_to)}; "
            "say --allow-equal if that is what you want"
        )


def finish_folder(
    args: argparse.Namespace,
    folder: Path,
    inputs: Inputs,
    method: Method,
    settings: dict[str, Any],
    outcome: Outcome,
) -> None:
    """Add everything but the tensors to the folder of a merged model."""
    copy_side_files(inputs.pivot, folder, DTYPE_NAMES.get(args.dtype))
    units = effective_units(inputs, method)
    rows = weight_rows(inputs, units)
    write_weights(folder / WEIGHTS, rows)
    write_card(folder / CARD, inputs, method.name, settings, rows)
    write_manifest(
        folder,
        args.program,
        outcome.files,
        method=method.name,
        settings=settings,
        inputs=describe_inputs(inputs, outcome.digests),
        weights={
            unit: dict(zip(inputs.targets, map(float, own), strict=True))
            for unit, (own, _) in units.items()
        },
    )


def describe_inputs(inputs: Inputs, digests: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Folder, digest of the weights that were read, and checksums of config and manifest."""
    found = {}
    for name, checkpoint in inputs.sources(True).items():
        small = {
            file: sha256(checkpoint.folder / file)
            for file in ("config.json", MANIFEST)
            if (checkpoint.folder / file).exists()
        }
        found[name] = {
            "folder": str(checkpoint.folder),
            "weights_xxh3_128": digests.get(name),
            "sha256": small,
        }
    return found


def effective_units(inputs: Inputs, method: Method) -> Units:
    """Weights [targets] and number of elements of each unit, in the order of the pivot's files."""
    units: Units = {}
    twice = stored_twice(inputs.pivot)
    for name, info in inputs.pivot.tensors.items():
        if name in method.effective and name not in twice:
            unit = method.unit(name)
            elements = units[unit][1] if unit in units else 0
            units[unit] = method.effective[name], elements + info.elements
    return units


def weight_rows(inputs: Inputs, units: Units) -> list[tuple[str, str, float, int]]:
    """(unit, target, weight, elements) of all units."""
    return [
        (unit, target, float(weight), elements)
        for unit, (own, elements) in units.items()
        for target, weight in zip(inputs.targets, own, strict=True)
    ]


def write_weights(path: Path, rows: list[tuple[str, str, float, int]]) -> None:
    """The effective weights as a table with a row for each unit and target."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("unit", "target", "weight", "elements"))
        writer.writerows(rows)


def write_card(
    path: Path,
    inputs: Inputs,
    method: str,
    settings: dict[str, Any],
    rows: list[tuple[str, str, float, int]],
) -> None:
    """A model card: what was merged, how, and with which weights."""
    targets = list(inputs.targets)
    lines = [f"{_CARD_START}- {method}", "---", f"# {method} merge", ""]
    lines += [f"Pivot: `{inputs.pivot.folder}`", ""]
    lines += [f"- target `{name}`: `{target.folder}`" for name, target in inputs.targets.items()]
    lines += ["", *(f"- {key}: {value}" for key, value in settings.items()), ""]
    lines += ["## Effective weights", "", f"| unit | {' | '.join(targets)} | elements |"]
    lines += ["|---|" + "---:|" * (len(targets) + 1)]
    count = len(targets)
    units = [rows[i : i + count] for i in range(0, len(rows), count)]
    for unit in units[:_CARD_ROWS]:
        own = " | ".join(f"{row[2]:.4f}" for row in unit)
        lines.append(f"| {unit[0][0]} | {own} | {unit[0][3]} |")
    if len(units) > _CARD_ROWS:
        lines += ["", f"The first {_CARD_ROWS} of {len(units)} units; all are in {WEIGHTS}."]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
