"""Merging from Python: a function for each method, with typed options."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionchat.merging.inputs import InputOptions, Inputs
from fusionchat.merging.merged_folder import Merged, OutputOptions, run_merge, try_merge
from fusionchat.merging.methods.linear import LinearMerge
from fusionchat.merging.methods.sce import SceMerge
from fusionchat.merging.methods.varm import VarmMerge, outside_layers
from fusionchat.merging.options import target_weights
from fusionchat.merging.side_files import left_behind
from fusionchat.merging.streaming import Method
from fusionchat.merging.variation import check_digests, known_weights, measure_or_read
from fusionchat.output_folder import check_output

if TYPE_CHECKING:
    from fusionchat.merging.methods.mergekit_runs import MergekitOptions


@dataclass(frozen=True)
class VarmOptions:
    """VaRM's unit, measure of change and normalisation.

    `variation` maps every target to its table of measure_variation; without tables the changes are
    measured now.
    """

    granularity: str = "matrix"
    change: str = "square"
    normalise: str = "sum"
    variation: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class SceOptions:
    """The share of the varying elements that decides the weights, and whether signs are erased."""

    select_topk: float = 0.1
    erase: bool = True


def open_inputs(inputs: InputOptions, output: OutputOptions) -> Inputs:
    """The audited inputs; the output must spare them."""
    check_output(output.output, output.program, [inputs.pivot, *inputs.targets.values()])
    opened = Inputs.open(inputs)
    if not (inputs.tokenizer_from or inputs.template_from):
        for line in left_behind(opened.pivot, opened.targets):
            logging.warning("%s: %s", output.output, line)
    return opened


def merge_varm(
    inputs: InputOptions,
    output: OutputOptions,
    varm: VarmOptions = VarmOptions(),
    write: bool = True,
) -> Merged:
    """VaRM (equations 6 and 7); without `write` only the report."""
    opened = open_inputs(inputs, output)
    on_the_way = varm.granularity in ("matrix", "parameter")
    tables = measure_or_read(opened, varm.variation, on_the_way)
    if varm.granularity in ("layer", "module"):
        _tell_units(opened, varm.granularity)
    formula = {key: value for key, value in asdict(varm).items() if key != "variation"}
    known = known_weights(opened, tables, **formula) if tables else None
    method = VarmMerge(**formula, known=known)
    return _run(
        output,
        opened,
        method,
        formula,
        write,
        lambda digests: check_digests(tables, digests, varm.variation),
    )


def _tell_units(inputs: Inputs, granularity: str) -> None:
    """Name the tensors whose unit falls back to the matrix."""
    tensors = list(inputs.pivot.tensors)
    alone = outside_layers(tensors)
    if len(alone) == len(tensors):
        logging.warning("no layers are recognised: each matrix is a unit, not each %s", granularity)
    elif alone:
        names = ", ".join(alone[:5]) + (" ..." if len(alone) > 5 else "")
        logging.info("units of their own, outside all layers: %s", names)


def merge_linear(
    inputs: InputOptions,
    output: OutputOptions,
    weights: Mapping[str, float] | None = None,
    write: bool = True,
) -> Merged:
    """The weighted mean of the targets; equal weights by default."""
    opened = open_inputs(inputs, output)
    by_target = dict(weights or dict.fromkeys(opened.targets, 1.0))
    checked = target_weights([f"{n}={w}" for n, w in by_target.items()], list(opened.targets))
    method = LinearMerge(np.array(list(checked.values())))
    return _run(output, opened, method, {"weight": checked}, write)


def merge_sce(
    inputs: InputOptions,
    output: OutputOptions,
    sce: SceOptions = SceOptions(),
    write: bool = True,
) -> Merged:
    """Select, calculate, erase (arXiv 2408.07990)."""
    opened = open_inputs(inputs, output)
    settings = {"select_topk": sce.select_topk, "no_erase": not sce.erase}
    return _run(output, opened, SceMerge(sce.select_topk, sce.erase), settings, write)


def merge_mergekit(
    inputs: InputOptions, output: OutputOptions, options: "MergekitOptions", write: bool = True
) -> Merged:
    """One of mergekit's methods; needs mergekit, which takes seconds to import."""
    from fusionchat.merging.methods.mergekit_runs import merge_by_mergekit, try_mergekit

    merge = merge_by_mergekit if write else try_mergekit
    return merge(open_inputs(inputs, output), options, output)


def _run(
    output: OutputOptions,
    inputs: Inputs,
    method: Method,
    settings: dict[str, Any],
    write: bool,
    check: Callable[[dict[str, str]], None] = lambda digests: None,
) -> Merged:
    if write:
        return run_merge(output, inputs, method, settings, check)
    return try_merge(output, inputs, method)
