"""A target that is not whole, not finite or not the pivot's shape never passes the audit."""

import json

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GenerationConfig

from fusionchat.errors import UserError
from fusionchat.training.target_folder import audit_target, save_target

EOS, END = 1, 7


@pytest.fixture
def folders(tmp_path):
    pivot, target = tmp_path / "pivot", tmp_path / "target"
    model = tiny_models.build("qwen2")
    model.generation_config.eos_token_id = EOS
    model.bfloat16().save_pretrained(pivot)
    tiny_models.tokenizer().save_pretrained(pivot)
    target.mkdir()
    save_target(model.float(), pivot, target, None, END)
    return pivot, target


def change(folder, edit):
    file = folder / "model.safetensors"
    weights = load_file(file)
    edit(weights)
    save_file(weights, file, metadata={"format": "pt"})


def test_a_good_target_passes(folders):
    pivot, target = folders
    counts = audit_target(target, pivot)
    weights = load_file(target / "model.safetensors")
    assert counts == {
        "tensors": len(weights),
        "parameters": sum(weight.numel() for weight in weights.values()),
    }


def test_the_tokenizer_is_the_pivots_and_whoever_reads_the_config_reads_the_weights(folders):
    pivot, target = folders
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (target / name).read_bytes() == (pivot / name).read_bytes()
    modes = {(target / name).stat().st_mode for name in ("config.json", "model.safetensors")}
    assert len(modes) == 1


def test_the_target_stops_at_the_end_of_turn_that_it_learnt(folders):
    """Also where the pivot's generation config does not, and in any program."""
    pivot, target = folders
    assert GenerationConfig.from_pretrained(pivot).eos_token_id == EOS
    assert GenerationConfig.from_pretrained(target).eos_token_id == [EOS, END]
    model = AutoModelForCausalLM.from_pretrained(target)
    only_the_end = {"prefix_allowed_tokens_fn": lambda *_: [END]}
    generated = model.generate(torch.tensor([[3, 4]]), max_new_tokens=20, **only_the_end)
    assert generated[0, 2:].tolist() == [END]


def test_a_tied_head_may_be_stored_in_the_pivot(folders):
    pivot, target = folders
    embeddings = "model.embed_tokens.weight"
    change(pivot, lambda w: w.update({"lm_head.weight": w[embeddings].clone()}))
    audit_target(target, pivot)


NAME = "model.layers.0.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda w: w.pop(NAME), NAME),
        (lambda w: w.update({NAME: w[NAME][:-1].clone()}), NAME),
        (lambda w: w.update({NAME: w[NAME].bfloat16()}), "saved as BF16"),
        (lambda w: w[NAME].view(-1)[3].fill_(torch.nan), "not finite"),
        (lambda w: w.update({NAME: torch.empty(0)}), NAME),
    ],
    ids=["missing", "shape", "dtype", "nan", "empty"],
)
def test_a_damaged_target_is_refused(folders, edit, message):
    pivot, target = folders
    change(target, edit)
    with pytest.raises(UserError, match=message):
        audit_target(target, pivot)


def test_a_config_that_wants_other_weights_is_refused(folders):
    pivot, target = folders
    config = json.loads((target / "config.json").read_text())
    config["num_hidden_layers"] += 1
    config.pop("layer_types", None)
    (target / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="says 3 layers, the files hold 2"):
        audit_target(target, pivot)
