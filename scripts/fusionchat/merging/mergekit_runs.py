"""Runs mergekit as a library and brings its result into the pivot's layout."""

import argparse
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from fusionchat.errors import UserError
from fusionchat.merging.checkpoint_audit import match_tensors
from fusionchat.merging.checkpoint_writer import DTYPE_NAMES
from fusionchat.merging.inputs import Inputs
from fusionchat.merging.mergekit_configs import mergekit_config
from fusionchat.merging.program import finish_folder, merge_tensors, merged_folder, refuse_equal
from fusionchat.merging.tensor_blocks import TensorStack, Values
from fusionchat.models.checkpoint import FLOATS, Checkpoint, open_checkpoint

CONFIG = "mergekit.yaml"
SCRATCH = "mergekit"
RESULT = "mergekit's result"  # among the targets, so no likely name of one
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
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise UserError(f"mergekit cannot do this merge: {error}") from error


def merge_by_mergekit(
    args: argparse.Namespace, inputs: Inputs, weights: Mapping[str, float]
) -> None:
    """Merge into `args.output`; the configuration stays there as `mergekit.yaml`."""
    import yaml

    keys = ("method", "density", "select_topk", "base")
    dtype = args.dtype or widest_dtype(inputs.pivot)
    config = mergekit_config(
        pivot=inputs.pivot.folder,
        targets={name: target.folder for name, target in inputs.targets.items()},
        layers=inputs.pivot.config.get("num_hidden_layers", 0),
        dtype=dtype,
        weights=weights,
        **{key: getattr(args, key) for key in keys},
    )
    method = ResultMethod(args.method, effective_weights(args.method, weights))
    with merged_folder(args, inputs) as folder:
        text = yaml.safe_dump(config, sort_keys=False, default_flow_style=None)
        (folder / CONFIG).write_text(text, encoding="utf-8")
        scratch = folder / SCRATCH
        run_mergekit(config, scratch, args.seed, args.threads)
        outcome = merge_tensors(args, folder, with_result(inputs, scratch), method)
        shutil.rmtree(scratch)
        outcome.equal_to.remove(RESULT)
        refuse_equal(args, outcome)
        settings = {"config": config, "seed": args.seed, "mergekit": version("mergekit")}
        finish_folder(args, folder, inputs, method, settings, outcome)


def widest_dtype(pivot: Checkpoint) -> str:
    """The pivot's dtype ("bfloat16"), or float32 where its tensors have several."""
    names = {short: name for name, short in DTYPE_NAMES.items()}
    found = {info.dtype for info in pivot.tensors.values() if info.dtype in FLOATS}
    return names[found.pop()] if len(found) == 1 else "float32"


def effective_weights(method: str, weights: Mapping[str, float]) -> Values | None:
    """Normalised weights of the methods that have them for the model as a whole."""
    if method in ("slerp", "sce_mergekit"):
        return None
    own = np.array(list(weights.values()))
    return own / own.sum()


def with_result(inputs: Inputs, folder: Path) -> Inputs:
    """The inputs of a merge and, as the last one, mergekit's result."""
    result = open_checkpoint(folder)
    try:
        matched = match_tensors(inputs.pivot, result)
    except UserError as error:
        raise UserError(f"mergekit does not merge this architecture as a whole: {error}") from error
    return replace(
        inputs,
        targets={**inputs.targets, RESULT: result},
        matched={**inputs.matched, RESULT: matched},
    )
