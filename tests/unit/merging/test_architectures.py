"""VaRM on tiny models of many architectures: every element as the formula in float64 gives it."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from small_checkpoints import read
from transformers import CONFIG_MAPPING, AutoModel

from fusionchat.merging import api
from fusionchat.merging.inputs import InputOptions
from fusionchat.merging.merged_folder import OutputOptions
from fusionchat.merging.methods.varm import GRANULARITIES, unit_of

SIZES = {
    **{"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64},
    **{"head_dim": 8, "num_local_experts": 2, "num_experts": 2, "num_experts_per_tok": 1},
    **{"moe_intermediate_size": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    **{"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "d_model": 32, "d_ff": 48},
    **{"d_kv": 8, "num_layers": 2, "num_heads": 4, "ffn_dim": 48, "word_embed_proj_dim": 32},
    **{"emb_dim": 32, "n_layers": 2, "n_heads": 4, "embedding_size": 16, "ffn_hidden_size": 48},
    **{"n_inner": 48, "rotary_dim": 4, "dim": 32, "hidden_dim": 48, "partial_rotary_factor": 0.5},
}
ARCHITECTURES = (
    *("llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma", "gemma2", "phi", "phi3", "olmo"),
    *("olmo2", "stablelm", "starcoder2", "cohere", "granite", "gpt2", "gpt_neox", "opt", "bloom"),
    *("falcon", "gptj", "t5", "albert", "bert", "xlm", "distilbert", "mamba"),
)


def tiny_model(kind: str, model_class: type = AutoModel, **more: object) -> torch.nn.Module:
    """A model with two small layers; sizes that a configuration does not have are left out."""
    config_class = CONFIG_MAPPING[kind]
    known = config_class().to_dict()
    config = config_class(**{k: value for k, value in SIZES.items() if k in known}, **more)
    return model_class.from_config(config)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folders(request, tmp_path_factory):
    """A bfloat16 pivot and two float32 targets."""
    place = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    model = tiny_model(request.param).to(torch.bfloat16)
    model.save_pretrained(place / "pivot")
    start = {name: value.clone() for name, value in model.state_dict().items()}
    for scale, name in ((1e-3, "a"), (3e-3, "b")):
        model.load_state_dict(start)
        model = model.float()
        with torch.no_grad():
            for weight in model.parameters():
                weight += scale * torch.randn_like(weight)
        model.save_pretrained(place / name)
    return place


def expected(pivot, targets, granularity: str) -> dict[str, np.ndarray]:
    """Equations 6 and 7 in float64, tensor by tensor; the result as float64."""
    changes = {n: np.stack([t[n].astype(float) - pivot[n] for t in targets]) for n in pivot}
    squares = {n: c**2 for n, c in changes.items()}
    if granularity == "parameter":
        weights = squares
    else:
        sums: dict[str, np.ndarray] = {}
        counts: dict[str, int] = {}
        for name, square in squares.items():
            unit = unit_of(name, granularity)
            total = square.reshape(len(targets), -1).sum(1)
            sums[unit] = sums.get(unit, 0) + total
            counts[unit] = counts.get(unit, 0) + pivot[name].size
        weights = {
            name: (sums[unit] / counts[unit]).reshape(-1, *[1] * pivot[name].ndim)
            for name in pivot
            for unit in [unit_of(name, granularity)]
        }
    result = {}
    for name, weight in weights.items():
        total = weight.sum(0)
        share = np.divide(weight, total, out=np.full_like(weight, 0.5), where=total > 0)
        mixed = sum(s * t[name].astype(float) for s, t in zip(share, targets, strict=True))
        result[name] = np.where(np.broadcast_to(total > 0, mixed.shape), mixed, pivot[name])
    return result


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_no_element_differs_from_float64(granularity, folders, tmp_path):
    inputs = InputOptions(folders / "pivot", {name: folders / name for name in "ab"})
    api.merge_varm(inputs, OutputOptions(tmp_path / "m"), api.VarmOptions(granularity))
    pivot, merged = read(folders / "pivot"), read(tmp_path / "m")
    targets = [load_file(folders / name / "model.safetensors") for name in "ab"]
    assert merged.keys() == pivot.keys()
    for name, values in expected(pivot, targets, granularity).items():
        np.testing.assert_array_equal(merged[name], values.astype(np.float32), err_msg=name)
