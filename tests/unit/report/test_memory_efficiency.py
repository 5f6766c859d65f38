"""Memory of several models beside one: measured on files, and the table of it."""

import pytest
import report_run
from report_run import read_csv

import memory_efficiency


@pytest.fixture(scope="module")
def tiny_models(tmp_path_factory):
    from transformers import MistralConfig, MistralForCausalLM, MixtralConfig, MixtralForCausalLM

    folder = tmp_path_factory.mktemp("models")
    shape = {
        "vocab_size": 32,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 64,
    }
    dense = MistralForCausalLM(MistralConfig(**shape))
    mixture = MixtralForCausalLM(MixtralConfig(**shape, num_local_experts=4, num_experts_per_tok=2))
    dense.save_pretrained(folder / "dense")
    mixture.save_pretrained(folder / "mixture")
    counts = {"dense": dense.num_parameters(), "mixture": mixture.num_parameters()}
    return folder, counts


def test_memory_efficiency(tiny_models, tmp_path):
    folder, counts = tiny_models
    words = [*report_run.rows(), "--fused", f"varm={folder / 'dense'}", "--dtype", "float32"]
    words += ["--source", f"tiny_openchat={folder / 'dense'}", f"tiny_solar={folder / 'mixture'}"]
    words += [
        "--batch",
        "2",
        "--prompt",
        "4",
        "--tokens",
        "4",
        "--output",
        str(tmp_path / "memory"),
    ]
    memory_efficiency.main(words)
    records = read_csv(tmp_path / "memory.csv")
    assert int(records["varm"]["parameters"]) == counts["dense"]
    assert int(records["tiny_solar"]["parameters"]) == counts["mixture"]
    experts = 2 * 4 * 3 * 16 * 16
    assert int(records["tiny_solar"]["active"]) == counts["mixture"] - experts // 2
    assert int(records["all_sources"]["parameters"]) == sum(counts.values())
    assert int(records["varm"]["weights"]) == 4 * counts["dense"]
    assert int(records["varm"]["cache"]) == 2 * 2 * 1 * 8 * 4
    slowest = min(float(records[name]["speed"]) for name in ("tiny_openchat", "tiny_solar"))
    assert 0 < float(records["all_sources"]["speed"]) < slowest
