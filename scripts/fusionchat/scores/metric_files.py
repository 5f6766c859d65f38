"""The Parquet file of a benchmark's metrics: a row for each model, training seed and unit."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionchat.errors import UserError
from fusionchat.files import atomic_file
from fusionchat.readers.parquet import check_filled, read_metadata, read_table
from fusionchat.replicates import replicate_name
from fusionchat.scores.likelihood import read_likelihoods
from fusionchat.scores.metrics import Column, Measured, Metric, column

if TYPE_CHECKING:
    import pyarrow as pa

MAKER = "write_columns"
_KEY = b"fusionchat"


def schema() -> "pa.Schema":
    """The columns of a file; a value that is missing is null."""
    import pyarrow as pa

    texts, numbers = ("metric", "model", "unit", "stratum"), ("value", "size")
    return pa.schema([(n, pa.string()) for n in texts] + [(n, pa.float64()) for n in numbers])


def write_columns(path: str | os.PathLike[str], measured: Sequence[Column]) -> None:
    """Write metrics with all their values; `read_columns` gives them back."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        (
            one.metric.name,
            replicate_name(model, seed),
            str(unit),
            str(values.strata[place]),
            None if math.isnan(value) else value,
            1.0 if values.sizes is None else float(values.sizes[place]),
        )
        for one in measured
        for model, values in one.models.items()
        for index, seed in enumerate(values.seeds)
        for place, unit in enumerate(values.units)
        for value in [float(values.values[place, index])]
    ]
    metrics = [asdict(one.metric) for one in measured]
    columns = [list(values) for values in zip(*rows, strict=True)] or [[]] * len(schema())
    table = pa.table(columns, schema=schema())
    with atomic_file(path) as partial:
        facts = {_KEY: json.dumps({"metrics": metrics})}
        pq.write_table(table.replace_schema_metadata(facts), partial, compression="zstd")


def read_columns(path: str | os.PathLike[str]) -> list[Column]:
    """The metrics of a file of `write_columns`; any other file is a `UserError`."""
    table = read_table(path, schema(), MAKER)
    facts = read_metadata(path, table.schema, _KEY, MAKER)
    check_filled(path, table, [name for name in table.column_names if name != "value"])
    measured: dict[str, dict[str, dict[str, Measured]]] = {}
    for row in table.to_pylist():
        value = math.nan if row["value"] is None else row["value"]
        units = measured.setdefault(row["metric"], {}).setdefault(row["model"], {})
        if row["unit"] in units:
            raise UserError(f"{path}: {row['model']} has two values of {row['unit']}")
        units[row["unit"]] = Measured(value, row["size"], row["stratum"])
    try:
        metrics = [Metric(**_metric(given)) for given in facts["metrics"]]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: its metrics cannot be read: {error}") from error
    return [column(metric, measured.get(metric.name, {})) for metric in metrics]


def _metric(given: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no tuples."""
    return given | {"bounds": tuple(given["bounds"]) if given["bounds"] else None}


def read_metrics(nll: Sequence[Path], files: Sequence[Path]) -> list[Column]:
    """All metrics beside the ratings that have values: likelihood first, then each file's."""
    columns = [*read_likelihoods(nll), *(one for file in files for one in read_columns(file))]
    names = [one.metric.name for one in columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"--metrics: {twice[0]} is in two files; give each metric once")
    return [one for one in columns if one.models]
