"""Runs mergekit as a library and brings its result into the pivot's layout."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from fusionchat.errors import UserError
from fusionchat.merging.card import label
from fusionchat.merging.checkpoint_audit import match_tensors
from fusionchat.merging.checkpoint_writer import float_type
from fusionchat.merging.inputs import RESULT, Inputs
from fusionchat.merging.merged_folder import (
    Merged,
    OutputOptions,
    finish_folder,
    layout_of,
    merge_tensors,
    merged_folder,
    refuse_equal,
    report,
)
from fusionchat.merging.methods.mergekit_configs import mergekit_config
from fusionchat.merging.methods.mergekit_inputs import named_alike
from fusionchat.merging.tensor_blocks import TensorStack, Values
from fusionchat.models.checkpoint import Checkpoint, open_checkpoint

CONFIG = "mergekit.yaml"
SCRATCH = "mergekit"
RENAMED = "renamed"
_SHARD_BYTES = 200_000_000  # mergekit holds a whole output shard in memory


class ResultMethod:
    """Takes the last input, mergekit's result, while all inputs are read, compared and hashed."""

    reads_pivot = True

    def __init__(self, name: str, weights: Values | None) -> None:
        self.name = name
        self._weights = weights
        self.effective: dict[str, Values] = {}

    def unit(self, name: str) -> str:
        """Where mergekit has weights at all, all tensors have the same."""
        return "model"

    def merge_tensor(self, name: str, stack: TensorStack) -> Iterator[Values]:
        """The last input, block by block."""
        if self._weights is not None:
            self.effective[name] = self._weights
        for block in stack.blocks():
            result = stack.result(block.shape[1])
            result[:] = block[-1]
            yield result


def run_mergekit(config: dict[str, Any], folder: Path, seed: int, threads: int) -> None:
    """Run a configuration into an empty `folder`; its mistakes become a `UserError`."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    torch.set_num_threads(threads)
    options = MergeOptions(
        copy_tokenizer=False,
        write_model_card=False,
        quiet=True,
        random_seed=seed,
        out_shard_size=_SHARD_BYTES,
    )
    try:
        run_merge(MergeConfiguration.model_validate(config), str(folder), options)
    except (RuntimeError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise UserError(f"mergekit cannot do this merge: {error}") from error


# The options that each method heeds, named as on the command line.
HEEDED = {
    "slerp": ("base",),
    "task_arithmetic": ("weight", "no_normalise"),
    "ties": ("weight", "no_normalise", "density"),
    "dare_linear": ("weight", "no_normalise", "density", "seed"),
    "sce_mergekit": ("select_topk",),
}


@dataclass(frozen=True)
class MergekitOptions:
    """A method of mergekit with its settings; `base` is SLERP's target at t = 0."""

    method: str
    weights: Mapping[str, float]
    density: float = 0.5
    select_topk: float = 0.1
    base: str | None = None
    seed: int = 0
    normalise: bool = True


def merge_by_mergekit(inputs: Inputs, options: MergekitOptions, output: OutputOptions) -> Merged:
    """Merge into `output`; the configuration stays there as `mergekit.yaml`.

    mergekit computes and writes float32; rounding to the output's type is ours, gives the same
    bits as its own, and its loss can be measured.
    """
    import yaml

    config = _config(inputs, options, output)
    method = ResultMethod(options.method, effective_weights(options))
    with merged_folder(output, inputs) as folder:
        computed = _compute(inputs, config, options.seed, folder, output.threads)
        # The models' names in place of this machine's paths.
        names = {str(m.folder): label(m) for m in inputs.sources(True).values()}
        config = _replaced(config, names)
        text = yaml.safe_dump(config, sort_keys=False, default_flow_style=None)
        (folder / CONFIG).write_text(text, encoding="utf-8")
        outcome = merge_tensors(output, folder, computed, method)
        shutil.rmtree(folder / SCRATCH)
        outcome.equal_to.remove(RESULT)
        refuse_equal(output, outcome)
        settings = _settings(options)
        facts = {"config": config, "mergekit": version("mergekit")}
        return finish_folder(output, folder, inputs, method, settings, outcome, facts)


def try_mergekit(inputs: Inputs, options: MergekitOptions, output: OutputOptions) -> Merged:
    """What `merge_by_mergekit` would report; mergekit's result lies in a temporary folder."""
    config = _config(inputs, options, output)
    method = ResultMethod(options.method, effective_weights(options))
    with tempfile.TemporaryDirectory(prefix="fusionchat-") as folder:
        computed = _compute(inputs, config, options.seed, Path(folder), output.threads)
        rounding = merge_tensors(output, None, computed, method).rounding
    return report(output, inputs, method, rounding)


def _compute(
    inputs: Inputs, config: dict[str, Any], seed: int, folder: Path, threads: int
) -> Inputs:
    """The inputs with mergekit's result in float32, which lies in `folder`."""
    renamed = folder / RENAMED
    places = {
        str(inputs.sources(True)[name].folder): str(place)
        for name, place in named_alike(inputs, renamed).items()
    }
    config = _replaced({**config, "out_dtype": "float32"}, places)
    run_mergekit(config, folder / SCRATCH, seed, threads)
    shutil.rmtree(renamed, ignore_errors=True)
    return with_result(inputs, folder / SCRATCH)


def _settings(options: MergekitOptions) -> dict[str, Any]:
    """The options that matter to the method, named as on the command line."""
    named = {**asdict(options), "weight": dict(options.weights)}
    named["no_normalise"] = not options.normalise
    return {key: named[key] for key in ("method", *HEEDED[options.method])}


def _config(inputs: Inputs, options: MergekitOptions, output: OutputOptions) -> dict[str, Any]:
    keys = ("method", "weights", "density", "select_topk", "base", "normalise")
    return mergekit_config(
        pivot=inputs.pivot.folder,
        targets={name: target.folder for name, target in inputs.targets.items()},
        layers=layer_count(inputs.pivot) if options.method == "slerp" else 0,
        dtype=float_type(layout_of(output, inputs)),
        **{key: getattr(options, key) for key in keys},
    )


def layer_count(model: Checkpoint) -> int:
    """Layers of a model, whatever its configuration calls them."""
    for part in (model.config, model.config.get("text_config") or {}):
        for key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers"):
            if isinstance(part.get(key), int):
                return int(part[key])
    raise UserError(f"{model.folder}/config.json has no num_hidden_layers, which SLERP needs")


def _replaced(value: Any, names: Mapping[str, str]) -> Any:
    """A configuration with other texts in place of some."""
    if isinstance(value, dict):
        return {key: _replaced(part, names) for key, part in value.items()}
    if isinstance(value, list):
        return [_replaced(part, names) for part in value]
    return names.get(value, value) if isinstance(value, str) else value


def effective_weights(options: MergekitOptions) -> Values | None:
    """The weights of the methods that have them for the model as a whole."""
    if options.method in ("slerp", "sce_mergekit"):
        return None
    weights = np.array(list(options.weights.values()))
    return weights / weights.sum() if options.normalise else weights


def with_result(inputs: Inputs, folder: Path) -> Inputs:
    """The inputs of a merge with mergekit's result."""
    result = open_checkpoint(folder)
    try:
        matched = match_tensors(inputs.pivot, result)
    except UserError as error:
        raise UserError(f"mergekit does not merge this architecture as a whole: {error}") from error
    return replace(inputs, result=result, matched={**inputs.matched, RESULT: matched})
