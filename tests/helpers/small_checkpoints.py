"""Small checkpoints for the tests of merging: written from arrays, read back as arrays."""

import json
import shutil
from pathlib import Path

import numpy as np

from fusionchat.merging.checkpoint_writer import CheckpointWriter
from fusionchat.merging.tensor_blocks import kernel_values, widen
from fusionchat.models.checkpoint import open_checkpoint
from fusionchat.readers.safetensors import TensorInfo, TensorReader

Arrays = dict[str, np.ndarray]
CONFIG = {"model_type": "llama", "num_attention_heads": 2, "tie_word_embeddings": False}
NAMES = (
    "model.embed_tokens.weight",
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.0.mlp.up_proj.weight",
    "model.layers.1.self_attn.q_proj.weight",
    "lm_head.weight",
)


def to_bf16(values: np.ndarray) -> np.ndarray:
    """Float32 values cut to bfloat16, as uint16 bits."""
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def write(folder: Path, arrays: Arrays, config: dict | None = None, shard: float = 1e9) -> Path:
    """A checkpoint of float32 arrays; uint16 arrays are the bits of bfloat16 tensors."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    dtypes = {"float32": "F32", "uint16": "BF16", "float16": "F16", "int64": "I64", "uint8": "U8"}
    infos = {
        name: TensorInfo(name, dtypes[str(array.dtype)], array.shape, folder, 0)
        for name, array in arrays.items()
    }
    writer = CheckpointWriter(folder, infos, int(shard))
    for name, array in arrays.items():
        writer.write(name, 0, np.ascontiguousarray(array).reshape(-1).data)
    writer.close()
    (folder / "config.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    return folder


def read(folder: Path) -> Arrays:
    """All float tensors as float32."""
    reader, result = TensorReader(), {}
    for name, info in open_checkpoint(folder).tensors.items():
        values = np.empty(info.elements, np.float32)
        widen(kernel_values(reader.map(info), info.dtype), values)
        result[name] = values.reshape(info.shape)
    reader.close()
    return result


def random_arrays(seed: int, shape: tuple[int, ...] = (6, 4), scale: float = 1.0) -> Arrays:
    """Normal float32 values for every tensor of a two-layer model."""
    rng = np.random.default_rng(seed)
    return {name: (scale * rng.standard_normal(shape)).astype(np.float32) for name in NAMES}


def changed(pivot: Arrays, seed: int, scale: float = 0.01) -> Arrays:
    """The pivot plus a random change whose size differs from tensor to tensor."""
    change = random_arrays(seed, next(iter(pivot.values())).shape, scale)
    return {
        name: (pivot[name] + (1 + number) * seed * change[name]).astype(np.float32)
        for number, name in enumerate(pivot)
    }
