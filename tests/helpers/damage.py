"""Ways to damage a file or a folder of a model."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file

from fusionchat.files import write_manifest

WEIGHTS = "model.safetensors"
Edit = Callable[[Path], object]


def change_json(name: str, **values: object) -> Edit:
    """Set keys of a JSON file in a folder; None removes one."""

    def edit(folder: Path) -> None:
        content = json.loads((folder / name).read_text()) | values
        kept = {key: value for key, value in content.items() if value is not None}
        (folder / name).write_text(json.dumps(kept))

    return edit


def put(name: str, data: bytes) -> Edit:
    """Write a file of a folder, or the file itself where it has no name."""
    return lambda path: (path / name if name else path).write_bytes(data)


def cut(name: str, end: int) -> Edit:
    """Keep the beginning of a file."""

    def edit(path: Path) -> None:
        file = path / name if name else path
        file.write_bytes(file.read_bytes()[:end])

    return edit


def change_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Edit:
    def edit(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        save_file(change(weights) or weights, folder / WEIGHTS, metadata={"format": "pt"})

    return edit


def shard(index: dict, end: int | None = None) -> Edit:
    """An index in the place of the one file."""

    def edit(folder: Path) -> None:
        (folder / WEIGHTS).rename(folder / "model-00001-of-00001.safetensors")
        (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index)[:end])

    return edit


def finished(change: Edit) -> Edit:
    """Change a folder after its manifest was written."""

    def edit(folder: Path) -> None:
        write_manifest(folder, "test")
        change(folder)

    return edit


def table(**columns: list) -> Edit:
    return lambda path: pq.write_table(pa.table(columns), path)


def change_table(change: Callable[[pa.Table], pa.Table]) -> Edit:
    return lambda path: pq.write_table(change(pq.read_table(path)), path)


def flip(path: Path) -> None:
    """Damage some bytes of the first column."""
    data = bytearray(path.read_bytes())
    data[64:68] = bytes(byte ^ 0xFF for byte in data[64:68])
    path.write_bytes(data)


def as_text(rows: pa.Table) -> pa.Table:
    columns = {name: pa.array(["x"] * len(rows)) for name in rows.column_names}
    return pa.table(columns).replace_schema_metadata(rows.schema.metadata)
