"""What transformers loads rightly is taken everywhere; what it would fill with noise, nowhere."""

import json
import logging
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BloomConfig, GPT2Config, GPTNeoXConfig, LlamaConfig

import merge_mergekit
from fusionchat.errors import UserError
from fusionchat.merging.checkpoint_audit import match_tensors
from fusionchat.models.checkpoint import open_checkpoint
from fusionchat.models.loading import load_model
from fusionchat.models.names import canonical, canonical_names
from fusionchat.training.target_folder import audit_target, load_float32, save_target

CONFIGS = {
    "gpt2": GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=32),
    "bloom": BloomConfig(vocab_size=50, hidden_size=16, n_layer=2, n_head=2),
    "gpt_neox": GPTNeoXConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2,
    ),
    "llama": LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1,
    ),
}  # fmt: skip
IDS = torch.arange(6)[None]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for kind, config in CONFIGS.items():
        torch.manual_seed(1)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder / kind)
    return folder


def logits(folder, dtype="float32"):
    with torch.no_grad():
        return load_model(folder, dtype)(IDS).logits


def test_loading_says_what_it_loads_and_how_long_it_took(saved, caplog):
    with caplog.at_level(logging.INFO):
        load_model(saved / "llama", "float32")
    first, last = caplog.messages
    assert first == f"loading {saved / 'llama'}: 0.0 GB"
    assert re.fullmatch(r"loaded in \d+ s", last)


def variant(saved, tmp_path, kind, edit):
    """A copy of a model whose tensors went through `edit`."""
    folder = tmp_path / "variant"
    shutil.copytree(saved / kind, folder, dirs_exist_ok=True)
    file = folder / "model.safetensors"
    weights = load_file(file)
    save_file(edit(weights) or weights, file, metadata={"format": "pt"})
    return folder


def without_prefix(weights):
    return {canonical(name): value for name, value in weights.items()}


def wrapped(prefix):
    return lambda weights: {prefix + name: value for name, value in weights.items()}


def with_buffers(weights):
    mask = torch.ones(1, 1, 8, 8).tril().bool()
    layer = next(name for name in weights if ".0." in name).split(".0.")[0]
    weights[f"{layer}.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    weights[f"{layer}.0.attn.embed_positions"] = torch.ones(8, 4)
    weights["rope.freqs"] = torch.ones(4)
    weights[f"{layer}.1.attn.bias"] = mask
    weights[f"{layer}.1.attention.bias"] = mask.clone()
    weights[f"{layer}.1.attention.masked_bias"] = torch.tensor(-1e9)


def with_stored_head(weights):
    embedding = next(n for n in weights if n.endswith(("wte.weight", "word_embeddings.weight")))
    weights["lm_head.weight"] = weights[embedding].clone()


VARIANTS = {
    "without prefix": (without_prefix, CONFIGS),
    "of DistributedDataParallel": (wrapped("module."), CONFIGS),
    "of torch.compile": (wrapped("_orig_mod."), CONFIGS),
    "of both": (wrapped("module._orig_mod."), ["llama"]),
    "with buffers": (with_buffers, CONFIGS),
    "with a tied head": (with_stored_head, ["gpt2", "bloom"]),
}
CASES = [(kind, name) for name, (_, kinds) in VARIANTS.items() for kind in kinds]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_other_names_of_the_same_weights_are_taken_everywhere(saved, tmp_path, kind, name):
    folder = variant(saved, tmp_path, kind, VARIANTS[name][0])
    assert torch.equal(logits(folder), logits(saved / kind))
    for pivot, target in ((saved / kind, folder), (folder, saved / kind), (folder, folder)):
        pair = open_checkpoint(pivot), open_checkpoint(target)
        assert match_tensors(*pair).keys() == pair[0].tensors.keys()
    trained = tmp_path / "trained"
    trained.mkdir()
    save_target(load_float32(folder), folder, trained, None, 1)
    audit_target(trained, folder)
    assert torch.equal(logits(trained), logits(folder))
    assert not any("module" in n or "_orig_mod" in n for n in open_checkpoint(trained).tensors)


def test_mergekit_merges_other_names_of_the_same_weights(saved, tmp_path):
    def edit(weights):
        with_buffers(weights)
        return {
            f"_orig_mod.{n}": v * 1.5 if v.is_floating_point() else v for n, v in weights.items()
        }

    folder = variant(saved, tmp_path, "llama", edit)
    other = shutil.copytree(folder, tmp_path / "other")
    argv = [
        "--method",
        "task_arithmetic",
        "--pivot",
        str(saved / "llama"),
        "--target",
        f"a={folder}",
    ]
    merge_mergekit.main(
        [*argv, "--target", f"b={other}", "--allow-equal", "--output", str(tmp_path / "out")]
    )
    merged, pivot = (
        load_file(f / "model.safetensors") for f in (tmp_path / "out", saved / "llama")
    )
    assert merged.keys() == pivot.keys()
    assert all(torch.allclose(merged[name], 1.5 * pivot[name], atol=1e-6) for name in pivot)
    assert "renamed" not in (tmp_path / "out" / "mergekit.yaml").read_text()
    assert not (tmp_path / "out" / "renamed").exists()


def test_weights_in_another_format_beside_the_models_do_not_count(saved, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(saved / "llama", folder)
    save_file({"tok_embeddings.weight": torch.ones(2)}, folder / "consolidated.safetensors")
    (folder / "original").mkdir()
    (folder / "original" / "model.safetensors").write_bytes(b"another")
    assert torch.equal(logits(folder), logits(saved / "llama"))
    assert open_checkpoint(folder).tensors.keys() == open_checkpoint(saved / "llama").tensors.keys()


UP = "model.layers.1.mlp.up_proj.weight"
FAULTS = {
    "a weight is missing": lambda w: w.pop(UP) is None,
    "the head is missing": lambda w: w.pop("lm_head.weight") is None,
    "foreign prefix": wrapped("language_model.other."),
    "a weight too many": lambda w: w.update({"model.layers.1.mlp.extra.weight": torch.ones(3)}),
    "another shape": lambda w: w.update({UP: torch.ones(25, 16)}),
    "quantised": lambda w: w.update({UP: torch.ones(24, 16, dtype=torch.int8)}),
    "two names": lambda w: w.update({f"module.{UP}": w[UP].clone()}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_would_be_scored_with_noise_is_refused(saved, tmp_path, fault):
    folder = variant(saved, tmp_path, "llama", FAULTS[fault])
    for read in (lambda: load_model(folder, "float32"), lambda: load_float32(folder)):
        with pytest.raises(UserError) as error:
            read()
        assert str(folder) in str(error.value)
    with pytest.raises(UserError):
        match_tensors(open_checkpoint(saved / "llama"), open_checkpoint(folder))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("quantization_config", {"quant_method": "gptq", "bits": 4}, r"quantised \(gptq\)"),
        ("pad_token_id", 50, "pad_token_id 50 is beyond the 50 tokens"),
        ("num_hidden_layers", 3, "says 3 layers, the files hold 2"),
        ("hidden_size", "wide", "is no config that transformers"),
        ("model_type", "no such model", "is no config that transformers"),
        ("tie_word_embeddings", True, "ties lm_head.weight to"),
    ],
)
def test_a_config_that_does_not_fit_is_named(saved, tmp_path, key, value, message):
    folder = tmp_path / "m"
    shutil.copytree(saved / "llama", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(UserError, match=message) as error:
        load_model(folder, "float32")
    assert f"{folder}/config.json" in str(error.value)


def test_canonical_names():
    names = {
        "module._orig_mod.model.layers.0._checkpoint_wrapped_module.mlp.w": "layers.0.mlp.w",
        "transformer.h.0.ln.weight": "h.0.ln.weight",
        "lm_head.weight": "lm_head.weight",
        "vision_tower.model.x": "vision_tower.model.x",
        "model": "model",
    }
    assert {name: canonical(name) for name in names} == names
    with pytest.raises(UserError, match="which are one weight"):
        canonical_names(["model.a", "a"], "m")
