"""What a VaRM merge would do, without doing it: sizes, peak memory and weights."""

from collections.abc import Mapping
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from fusionchat.merging.checkpoint_audit import stored_twice
from fusionchat.merging.inputs import Inputs
from fusionchat.merging.tensor_blocks import TensorStack
from fusionchat.merging.varm import VarmMerge, unit_of
from fusionchat.models.checkpoint import FLOATS
from fusionchat.progress import progress
from fusionchat.readers.safetensors import TensorReader

_INTERPRETER_BYTES = 200e6  # Python, numpy, numba and the buffers of a block, as measured


def peak_memory(inputs: Inputs, threads: int) -> float:
    """Bytes that a merge needs at most: each thread maps one tensor of every input."""
    largest = max(
        sum(inputs.tensor(source, name).nbytes for source in inputs.sources(True))
        for name in inputs.pivot.tensors
    )
    return _INTERPRETER_BYTES + threads * largest


def weights_by_element(inputs: Inputs, method: VarmMerge) -> dict[str, NDArray[np.float64]]:
    """Mean weights [targets] of every float tensor at parameter level: a merge without writing."""
    sources = inputs.sources(True)
    size = sum(source.nbytes for source in sources.values())
    with (
        closing(TensorReader()) as reader,
        progress(total=size, unit="B", unit_scale=True, desc="measuring") as bar,
    ):
        stack = TensorStack(reader, len(sources))
        for name, info in inputs.pivot.tensors.items():
            infos = [inputs.tensor(source, name) for source in sources]
            if info.dtype in FLOATS:
                for _ in method.merge_tensor(name, stack.open(infos)):
                    pass
            bar.update(sum(info.nbytes for info in infos))
    return method.effective


def report(
    inputs: Inputs,
    known: Mapping[str, NDArray[np.float64]],
    granularity: str,
    threads: int,
) -> str:
    """Sizes in GB, the peak memory to expect, and the weights of each unit as a table."""
    lines = [
        f"{name}: {source.nbytes / 1e9:.3f} GB in {source.folder}"
        for name, source in inputs.sources(True).items()
    ]
    lines.append(f"output: {inputs.pivot.nbytes / 1e9:.3f} GB (in the pivot's type)")
    lines.append(f"peak memory: {peak_memory(inputs, threads) / 1e9:.2f} GB")
    lines.append("\t".join(["unit", *inputs.targets]))
    units, twice = {}, stored_twice(inputs.pivot)
    for name, info in inputs.pivot.tensors.items():
        if info.dtype in FLOATS and name not in twice:
            units[unit_of(name, granularity)] = known[name]
    lines += ["\t".join([unit, *(f"{w:.6f}" for w in own)]) for unit, own in units.items()]
    return "\n".join(lines)
