"""Columns of Parquet files that other steps wrote."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fusionchat.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa


def read_columns(path: Path, columns: Sequence[str], step: str) -> "pa.Table":
    """These columns and no others; another file is a `UserError` that names `step`, its maker."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        lacking = [name for name in columns if name not in file.schema_arrow.names]
        if not lacking:
            return file.read(columns)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; make it with {step}") from error
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is truncated or not Parquet; make it with {step}") from error
    raise UserError(f"{path} has no column {', '.join(lacking)}; make it with {step}")
