"""Makes a pivot and two targets of a chosen size, cheaply, for the benchmark of merging."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from fusionchat.merging.checkpoint_writer import CheckpointWriter
from fusionchat.merging.tensor_blocks import BLOCK, narrow
from fusionchat.readers.safetensors import TensorInfo

SIZES = {  # hidden, intermediate, layers, vocabulary
    "quick": (512, 1408, 8, 8000),
    "1b": (2048, 5632, 22, 32000),
}


def config(size: str) -> dict[str, Any]:
    hidden, intermediate, layers, vocabulary = SIZES[size]
    return {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64,
        "num_key_value_heads": 4,
        "vocab_size": vocabulary,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }


def layout(size: str) -> dict[str, TensorInfo]:
    hidden, intermediate, layers, vocabulary = SIZES[size]
    shapes: dict[str, tuple[int, ...]] = {
        "lm_head.weight": (vocabulary, hidden),
        "model.embed_tokens.weight": (vocabulary, hidden),
    }
    for i in range(layers):
        prefix = f"model.layers.{i}."
        shapes |= {
            prefix + "input_layernorm.weight": (hidden,),
            prefix + "mlp.down_proj.weight": (hidden, intermediate),
            prefix + "mlp.gate_proj.weight": (intermediate, hidden),
            prefix + "mlp.up_proj.weight": (intermediate, hidden),
            prefix + "post_attention_layernorm.weight": (hidden,),
            prefix + "self_attn.k_proj.weight": (256, hidden),
            prefix + "self_attn.o_proj.weight": (hidden, hidden),
            prefix + "self_attn.q_proj.weight": (hidden, hidden),
            prefix + "self_attn.v_proj.weight": (256, hidden),
        }
    shapes["model.norm.weight"] = (hidden,)
    return {name: TensorInfo(name, "BF16", shape, Path(), 0) for name, shape in shapes.items()}


def make_models(folder: Path, size: str) -> list[Path]:
    """Write pivot, target_1 and target_2; the targets change about two thirds of the elements."""
    rng = np.random.default_rng(1)
    noise = rng.standard_normal(BLOCK * 17)
    paths = [folder / name for name in ("pivot", "target_1", "target_2")]
    tensors = layout(size)
    for number, path in enumerate(paths):
        path.mkdir(parents=True)
        (path / "config.json").write_text(json.dumps(config(size)))
        writer = CheckpointWriter(path, tensors, 1_200_000_000)
        for name, info in tensors.items():
            for start in range(0, info.elements, BLOCK):
                size_now = min(BLOCK, info.elements - start)
                at = (start * 7919 + len(name)) % (BLOCK * 16)
                values = 0.02 * noise[at : at + size_now]
                if number:
                    values = values + 1e-4 * number * noise[::-1][at : at + size_now]
                writer.write(name, 2 * start, narrow(values.copy(), "BF16")[0].data)
        writer.close()
    return paths
