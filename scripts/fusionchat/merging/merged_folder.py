"""From inputs and a method to the folder of a merged model, and what a merge reports."""

import csv
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fusionchat.errors import UserError
from fusionchat.files import MANIFEST, sha256, write_manifest
from fusionchat.merging.card import WEIGHTS, Row, command, write_card
from fusionchat.merging.checkpoint_writer import output_layout
from fusionchat.merging.inputs import Inputs
from fusionchat.merging.rounding import ROUNDING, Rounding, write_rounding
from fusionchat.merging.side_files import copy_side_files
from fusionchat.merging.streaming import Merge, Method, Outcome, Values
from fusionchat.models.checkpoint import stored_twice
from fusionchat.models.generation_config import stop_also
from fusionchat.output_folder import output_folder
from fusionchat.progress import progress
from fusionchat.readers.safetensors import TensorInfo

Settings = dict[str, Any]
Units = dict[str, tuple[Values, int]]
_INTERPRETER_BYTES = 200e6  # Python, numpy, numba and the buffers of a block, as measured


@dataclass(frozen=True)
class OutputOptions:
    """Where a merged model is written, and how.

    `dtype`: `targets` (the finest type among them), `pivot`, or a type. `shard_size` in GB.
    `program` owns the folder: only the same program replaces it.
    """

    output: Path
    dtype: str = "targets"
    shard_size: float = 5.0
    allow_equal: bool = False
    threads: int = 1
    program: str = "fusionchat.merging"


@dataclass(frozen=True)
class Merged:
    """A merge's report: its size, weights (unit, target, weight, elements), what rounding took."""

    inputs: Inputs
    nbytes: int
    weights: list[Row]
    rounding: Rounding


def merged_folder(options: OutputOptions, inputs: Inputs) -> AbstractContextManager[Path]:
    """A folder that becomes `output`, whole or not at all."""
    folders = [source.folder for source in inputs.sources(True).values()]
    return output_folder(options.output, options.program, folders)


def run_merge(
    options: OutputOptions,
    inputs: Inputs,
    method: Method,
    settings: Settings,
    check: Callable[[dict[str, str]], None] = lambda digests: None,
) -> Merged:
    """Merge into `options.output`, which appears whole or not at all.

    `check` sees the digests of the inputs before the output gets its name.
    """
    with merged_folder(options, inputs) as folder:
        outcome = merge_tensors(options, folder, inputs, method)
        refuse_equal(options, outcome)
        check(outcome.digests)
        return finish_folder(options, folder, inputs, method, settings, outcome)


def try_merge(options: OutputOptions, inputs: Inputs, method: Method) -> Merged:
    """What `run_merge` would report; nothing is written."""
    return report(options, inputs, method, merge_tensors(options, None, inputs, method).rounding)


def report(options: OutputOptions, inputs: Inputs, method: Method, rounding: Rounding) -> Merged:
    """What a merge reports whose tensors `method` has computed."""
    rows = weight_rows(inputs, effective_units(inputs, method))
    return Merged(inputs, _nbytes(options, inputs), rows, rounding)


def merge_tensors(
    options: OutputOptions, folder: Path | None, inputs: Inputs, method: Method
) -> Outcome:
    """Write the merged tensors into `folder`, if there is one, with progress in bytes read."""
    size = sum(source.nbytes for source in inputs.read(method.reads_pivot).values())
    layout = layout_of(options, inputs)
    with progress(total=size, unit="B", unit_scale=True, desc=options.output.name) as bar:
        merge = Merge(inputs, method, layout, bar.update)
        outcome = merge.run(folder, round(options.shard_size * 1e9), options.threads)
    inputs.check_unchanged()
    return outcome


def layout_of(options: OutputOptions, inputs: Inputs) -> dict[str, TensorInfo]:
    """The output's tensors, in the types that the options ask for.

    A `result` of the inputs has no say in them.
    """
    return output_layout(inputs.pivot, inputs.target_tensors(), options.dtype)


def _nbytes(options: OutputOptions, inputs: Inputs) -> int:
    return sum(info.nbytes for info in layout_of(options, inputs).values())


def refuse_equal(options: OutputOptions, outcome: Outcome) -> None:
    """Raise `UserError` if the merge changed nothing, unless the options allow that."""
    if outcome.equal_to and not options.allow_equal:
        raise UserError(
            f"{options.output}: the merged model equals {' and '.join(outcome.equal_to)}; "
            "say --allow-equal (in a config allow_equal: true) if that is what you want. Targets "
            "whose sources teach nothing are equal; `snakemake worth` finds such sources"
        )


def finish_folder(
    options: OutputOptions,
    folder: Path,
    inputs: Inputs,
    method: Method,
    settings: Settings,
    outcome: Outcome,
    facts: Mapping[str, Any] = MappingProxyType({}),
) -> Merged:
    """Add everything but the tensors to the folder of a merged model."""
    layout = layout_of(options, inputs)
    copy_side_files(inputs.pivot, folder, layout, inputs.tokenizer_from, inputs.template_from)
    stop_also(folder, inputs.stops)
    merged = report(options, inputs, method, outcome.rounding)
    merged.rounding.warn(options.output)
    write_weights(folder / WEIGHTS, merged.weights)
    write_rounding(folder / ROUNDING, merged.rounding)
    made_by = command(options.program, inputs, settings)
    write_card(folder, inputs, method.name, made_by, merged.weights, merged.rounding)
    write_manifest(
        folder,
        options.program,
        outcome.files,
        method=method.name,
        settings=settings,
        inputs=describe_inputs(inputs, outcome.digests),
        rounding=merged.rounding.facts(),
        **facts,
        weights={
            unit: dict(zip(inputs.targets, map(float, weights), strict=True))
            for unit, (weights, _) in effective_units(inputs, method).items()
        },
    )
    return merged


def describe_inputs(inputs: Inputs, digests: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Folder, digest of the weights that were read, and checksums of config and manifest."""
    described = {}
    for name, checkpoint in inputs.sources(True).items():
        small = {
            file: sha256(checkpoint.folder / file)
            for file in ("config.json", MANIFEST)
            if (checkpoint.folder / file).exists()
        }
        described[name] = {
            "folder": str(checkpoint.folder),
            "weights_xxh3_128": digests.get(name),
            "sha256": small,
        }
    return described


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


def weight_rows(inputs: Inputs, units: Units) -> list[Row]:
    """(unit, target, weight, elements) of all units."""
    return [
        (unit, target, float(weight), elements)
        for unit, (weights, elements) in units.items()
        for target, weight in zip(inputs.targets, weights, strict=True)
    ]


def write_weights(path: Path, rows: list[Row]) -> None:
    """The effective weights as a table with a row for each unit and target."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("unit", "target", "weight", "elements"))
        writer.writerows(rows)


def peak_memory(inputs: Inputs, threads: int) -> float:
    """Bytes that a merge needs at most: each thread maps one tensor of every input."""
    largest = max(
        sum(inputs.tensor(source, name).nbytes for source in inputs.sources(True))
        for name in inputs.pivot.tensors
    )
    return _INTERPRETER_BYTES + threads * largest


def dry_run_report(merged: Merged, threads: int) -> str:
    """Sizes in GB, the peak memory to expect, the loss, and the weights of each unit as a table."""
    inputs = merged.inputs
    lines = [
        f"{name}: {source.nbytes / 1e9:.3f} GB in {source.folder}"
        for name, source in inputs.sources(True).items()
    ]
    lines.append(f"output: {merged.nbytes / 1e9:.3f} GB in {merged.rounding.dtype}")
    lines.append(f"peak memory: {peak_memory(inputs, threads) / 1e9:.2f} GB")
    lines += merged.rounding.lines()
    lines.append("\t".join(["unit", *inputs.targets]))
    units: dict[str, list[str]] = {}
    for unit, _, weight, _ in merged.weights:
        units.setdefault(unit, []).append(f"{weight:.6f}")
    lines += ["\t".join([unit, *weights]) for unit, weights in units.items()]
    return "\n".join(lines)
