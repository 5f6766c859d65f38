"""How much a target differs from the pivot, tensor by tensor, and the table that keeps it."""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusionchat.errors import UserError
from fusionchat.files import atomic_file
from fusionchat.merging import kernels
from fusionchat.merging.inputs import PIVOT, Inputs, not_finite
from fusionchat.merging.methods.varm import layer_of, module_of, pool, unit_of, weights
from fusionchat.merging.tensor_blocks import ContentDigest, TensorStack
from fusionchat.models.checkpoint import FLOATS, stored_twice
from fusionchat.progress import progress
from fusionchat.readers.parquet import read_metadata, read_table
from fusionchat.readers.safetensors import TensorReader

_METADATA = b"fusionchat.merging.variation"


@dataclass(frozen=True)
class Variation:
    """Change of one tensor against the pivot (sums in float64)."""

    tensor: str
    layer: str
    module: str
    elements: int
    sum_square: float
    mean_square: float
    sum_abs: float
    mean_abs: float
    share_changed: float


@dataclass(frozen=True)
class VariationTable:
    """All tensors of a target, with the identity of the weights they were measured on."""

    rows: dict[str, Variation]
    pivot: str
    target: str


def measure(
    inputs: Inputs, advance: Callable[[int], Any] = lambda nbytes: None
) -> dict[str, VariationTable]:
    """Compare all targets with the pivot in one pass over the files; a table for each target."""
    sources = inputs.sources(with_pivot=True)
    digests = [ContentDigest() for _ in sources]
    rows: dict[str, dict[str, Variation]] = {target: {} for target in inputs.targets}
    with closing(TensorReader()) as reader:
        stack = TensorStack(reader, len(sources))
        for name, pivot in inputs.pivot.tensors.items():
            if pivot.dtype not in FLOATS:
                continue
            infos = [inputs.tensor(source, name) for source in sources]
            changes = _measure_tensor(name, stack.open(infos))
            for target, row in zip(inputs.targets, changes, strict=True):
                if not np.isfinite(row.sum_square):
                    raise UserError(not_finite([inputs.pivot, inputs.targets[target]], name))
                rows[target][name] = row
            for digest, info, part in zip(digests, infos, stack.digests(), strict=True):
                digest.add(info, part)
            advance(sum(info.nbytes for info in infos))
    of_pivot, *of_targets = [digest.hexdigest() for digest in digests]
    return {
        target: VariationTable(rows[target], of_pivot, of_target)
        for target, of_target in zip(rows, of_targets, strict=True)
    }


def _measure_tensor(name: str, stack: TensorStack) -> list[Variation]:
    sums = np.zeros((stack.inputs - 1, 3))
    for pivot, *targets in stack.raw_blocks():
        for row, target in zip(sums, targets, strict=True):
            row += (
                kernels.squared_change(pivot, target),
                kernels.absolute_change(pivot, target),
                kernels.changed_elements(pivot, target),
            )
    elements = stack.elements
    means = sums / max(elements, 1)
    return [
        Variation(
            tensor=name,
            layer=layer_of(name),
            module=module_of(name),
            elements=elements,
            sum_square=float(total[0]),
            mean_square=float(mean[0]),
            sum_abs=float(total[1]),
            mean_abs=float(mean[1]),
            share_changed=float(mean[2]),
        )
        for total, mean in zip(sums, means, strict=True)
    ]


def write_variation(path: str | os.PathLike[str], table: VariationTable) -> None:
    """Write one row a tensor as Parquet; the weights' identities go into the metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pa.Table.from_pylist([asdict(row) for row in table.rows.values()])
    identity = json.dumps({"pivot": table.pivot, "target": table.target}, sort_keys=True)
    with atomic_file(path) as partial:
        marked = rows.replace_schema_metadata({_METADATA: identity})
        pq.write_table(marked, partial, write_page_checksum=True)


def read_variation(path: str | os.PathLike[str]) -> VariationTable:
    """Read what `write_variation` wrote; anything else is a `UserError`."""
    table = read_table(path, [field.name for field in fields(Variation)], "measure_variation")
    identity = read_metadata(path, table.schema, _METADATA, "measure_variation")
    rows = {row["tensor"]: Variation(**row) for row in table.to_pylist()}
    return VariationTable(rows, identity.get("pivot", ""), identity.get("target", ""))


def measure_or_read(
    inputs: Inputs, files: Mapping[str, str | os.PathLike[str]], on_the_way: bool
) -> dict[str, VariationTable]:
    """The targets' tables: read from `files`, or measured now; none if measured `on_the_way`.

    Raises `UserError` if a target has no file, or a file does not list the pivot's tensors.
    """
    if not files:
        return {} if on_the_way else _measure_with_progress(inputs)
    if set(files) != set(inputs.targets):
        raise UserError(
            f"--variation names {', '.join(sorted(files))}; give one for each target: "
            f"{', '.join(inputs.targets)}"
        )
    tables = {target: read_variation(files[target]) for target in inputs.targets}
    elements = {n: i.elements for n, i in inputs.pivot.tensors.items() if i.dtype in FLOATS}
    for target, table in tables.items():
        if {name: row.elements for name, row in table.rows.items()} != elements:
            raise UserError(
                f"{files[target]} was measured on another model than {inputs.pivot.folder}; "
                "run measure_variation again"
            )
    return tables


def _measure_with_progress(inputs: Inputs) -> dict[str, VariationTable]:
    size = sum(source.nbytes for source in inputs.sources(True).values())
    with progress(total=size, unit="B", unit_scale=True, desc="measuring") as bar:
        return measure(inputs, bar.update)


def known_weights(
    inputs: Inputs,
    tables: Mapping[str, VariationTable],
    granularity: str,
    change: str,
    normalise: str,
) -> dict[str, NDArray[np.float64]]:
    """VaRM's weights [targets] for every float tensor of the pivot, from the targets' tables."""
    column = {"square": "sum_square", "abs": "sum_abs"}[change]
    sums = {
        name: np.array([getattr(tables[target].rows[name], column) for target in inputs.targets])
        for name, info in inputs.pivot.tensors.items()
        if info.dtype in FLOATS
    }
    elements = {name: inputs.pivot.tensors[name].elements for name in sums}
    twice = stored_twice(inputs.pivot)  # counts once
    pooled = pool([name for name in sums if name not in twice], granularity, sums, elements)
    by_unit = {unit: weights(total, count, normalise) for unit, (total, count) in pooled.items()}
    return {name: by_unit[unit_of(twice.get(name, name), granularity)] for name in sums}


def check_digests(
    tables: Mapping[str, VariationTable],
    digests: Mapping[str, str],
    files: Mapping[str, str | os.PathLike[str]],
) -> None:
    """Raise `UserError` where a table was measured on other weights than those just merged."""
    for target, table in tables.items():
        where = files.get(target, f"the change of {target}")
        for source, measured in ((PIVOT, table.pivot), (target, table.target)):
            if digests[source] != measured:
                raise UserError(
                    f"{where} was measured on other weights of {source} than those merged here; "
                    "run measure_variation again"
                )
