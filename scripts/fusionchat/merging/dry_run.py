"""What a merge would do, in words: sizes, peak memory, loss by rounding, and weights."""

from fusionchat.merging.inputs import Inputs
from fusionchat.merging.merged_folder import Merged

_INTERPRETER_BYTES = 200e6  # Python, numpy, numba and the buffers of a block, as measured


def peak_memory(inputs: Inputs, threads: int) -> float:
    """Bytes that a merge needs at most: each thread maps one tensor of every input."""
    largest = max(
        sum(inputs.tensor(source, name).nbytes for source in inputs.sources(True))
        for name in inputs.pivot.tensors
    )
    return _INTERPRETER_BYTES + threads * largest


def report(merged: Merged, threads: int) -> str:
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
