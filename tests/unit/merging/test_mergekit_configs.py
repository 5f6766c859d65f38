"""Configurations equal the released ones where those can run; results keep our promises."""

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from small_checkpoints import read, to_bf16, write
from tiny_models import CONFIGS
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    PhiConfig,
    StableLmConfig,
)

import merge_linear
import merge_mergekit
from fusionchat.errors import UserError
from fusionchat.files import checksums
from fusionchat.merging.methods.mergekit_configs import mergekit_config
from fusionchat.models.checkpoint import open_checkpoint

PIVOT, TARGETS = Path("pivot"), {"m": Path("target_1"), "s": Path("target_2")}
COMMON = {"layers": 6, "dtype": "bfloat16", "weights": {"m": 0.25, "s": 0.5}}


@pytest.mark.parametrize("method", ["slerp", "task_arithmetic", "ties", "dare_linear"])
def test_configurations_are_those_of_the_paper_but_in_float32(method, golden):
    entries = json.loads((golden / "merge" / "mergekit" / "mergekit.json").read_text())
    expected = entries[f"{method}/bfloat16"]["config"]
    expected |= {"dtype": "float32", "out_dtype": "bfloat16"}
    if method == "task_arithmetic":  # mergekit ignores the density there
        for model in expected["models"]:
            model.get("parameters", {}).pop("density", None)
    assert mergekit_config(method, PIVOT, TARGETS, density=0.5, **COMMON) == expected


def test_slerp_needs_two_targets_and_one_of_them_as_base():
    config = mergekit_config("slerp", PIVOT, TARGETS, base="s", **COMMON)
    assert config["base_model"] == "target_2"
    with pytest.raises(UserError, match="one of m, s"):
        mergekit_config("slerp", PIVOT, TARGETS, base="pivot", **COMMON)
    with pytest.raises(UserError, match="exactly two"):
        mergekit_config("slerp", PIVOT, {"m": Path("target_1")}, **COMMON)


def test_paths_that_mergekit_would_misread_are_refused():
    with pytest.raises(UserError, match="rename the folder"):
        mergekit_config("ties", Path("a+b"), TARGETS, **COMMON)


LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_key_value_heads": 2,
    "vocab_size": 16,
    "max_position_embeddings": 32,
}


def llama_arrays(tied: bool) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    layer = "model.layers.0."
    shapes = {"model.embed_tokens.weight": (16, 8), "model.norm.weight": (8,)}
    shapes |= {layer + f"self_attn.{name}_proj.weight": (8, 8) for name in "qkvo"}
    shapes |= {layer + f"mlp.{name}_proj.weight": (12, 8) for name in ("gate", "up")}
    shapes |= {layer + "mlp.down_proj.weight": (8, 12), layer + "input_layernorm.weight": (8,)}
    shapes |= {layer + "post_attention_layernorm.weight": (8,)}
    if not tied:
        shapes["lm_head.weight"] = (16, 8)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(params=[False, True], ids=["untied", "tied"])
def models(request, tmp_path) -> list[str]:
    config = {**LLAMA, "tie_word_embeddings": request.param}
    pivot = llama_arrays(request.param)
    bits = {name: to_bf16(array) for name, array in pivot.items()}
    folder = write(tmp_path / "pivot", bits, config)
    (folder / "generation_config.json").write_text('{"eos_token_id": 2}')
    options = ["--pivot", str(folder)]
    rng = np.random.default_rng(1)
    exact = read(folder)
    for name in ("a", "b"):
        target = {
            key: array + (0.01 * rng.standard_normal(array.shape)).astype(np.float32)
            for key, array in exact.items()
        }
        options += ["--target", str(write(tmp_path / name, target, config))]
    return options


def test_normalised_task_arithmetic_is_the_linear_merge(models, tmp_path):
    weights = ["--weight", "a=0.25", "--weight", "b=0.5"]
    command = ["--method", "task_arithmetic", *models, *weights]
    rounded = ["--dtype", "pivot"]
    merge_mergekit.main([*command, *rounded, "--output", str(tmp_path / "ta")])
    merge_linear.main([*models, *weights, *rounded, "--output", str(tmp_path / "linear")])
    ours, theirs = read(tmp_path / "linear"), read(tmp_path / "ta")
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(theirs[name], ours[name], rtol=2.0**-7, atol=1e-6)
    layout = [open_checkpoint(tmp_path / name).tensors for name in ("pivot", "ta")]
    assert [(i.name, i.dtype) for i in layout[0].values()] == [
        (i.name, i.dtype) for i in layout[1].values()
    ]
    for file in ("config.json", "generation_config.json"):
        assert (tmp_path / "ta" / file).read_bytes() == (tmp_path / "pivot" / file).read_bytes()
    config = yaml.safe_load((tmp_path / "ta" / "mergekit.yaml").read_text())
    assert config["dtype"] == "float32"
    assert config["out_dtype"] == "bfloat16"
    manifest = json.loads((tmp_path / "ta" / "manifest.json").read_text())
    assert manifest["files"] == checksums(tmp_path / "ta")
    assert manifest["config"] == config
    assert manifest["mergekit"] == version("mergekit")
    assert manifest["settings"] == {
        "method": "task_arithmetic",
        "weight": {"a": 0.25, "b": 0.5},
        "no_normalise": False,
    }
    assert str(tmp_path) not in (tmp_path / "ta" / "mergekit.yaml").read_text()
    assert manifest["weights"]["model"]["b"] == pytest.approx(2 / 3)
    assert set(manifest["inputs"]) == {"pivot", "a", "b"}


def test_a_target_may_be_called_mergekit(models, tmp_path):
    (tmp_path / "b").rename(tmp_path / "mergekit")
    command = [*models[:-1], str(tmp_path / "mergekit")]
    merge_mergekit.main(
        [*command, "--method", "task_arithmetic", "--output", str(tmp_path / "merged")]
    )
    merge_linear.main([*command, "--output", str(tmp_path / "linear")])
    theirs, ours = (
        json.loads((tmp_path / name / "manifest.json").read_text())["inputs"]
        for name in ("merged", "linear")
    )
    assert set(theirs) == {"pivot", "a", "mergekit"}
    for name in ("a", "mergekit"):
        assert theirs[name] == ours[name]


def test_dare_follows_its_seed_and_sce_runs(models, tmp_path):
    def merged(name: str, *options: str) -> dict[str, str]:
        merge_mergekit.main([*models, *options, "--output", str(tmp_path / name)])
        return {k: v for k, v in checksums(tmp_path / name).items() if k.endswith("safetensors")}

    first = merged("first", "--method", "dare_linear", "--seed", "1")
    assert first == merged("again", "--method", "dare_linear", "--seed", "1")
    assert first != merged("other", "--method", "dare_linear", "--seed", "2")
    assert merged("sce", "--method", "sce_mergekit", "--select-topk", "0.5") != first


def test_mergekits_refusals_become_user_errors(models, tmp_path):
    for name in ("pivot", "a", "b"):
        path = tmp_path / name / "config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps({**config, "architectures": [], "model_type": "unheard-of"}))
    with pytest.raises(UserError, match="mergekit cannot do this merge"):
        merge_mergekit.main(["--method", "ties", *models, "--output", str(tmp_path / "merged")])
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("method", ["slerp", "task_arithmetic"])
@pytest.mark.parametrize("kind", [GPT2Config, PhiConfig, StableLmConfig])
def test_architectures_of_other_names_are_merged(kind, method, tmp_path):
    """GPT-2 calls its layers n_layer."""
    options = []
    for seed, option in enumerate(("--pivot", "--target", "--target")):
        torch.manual_seed(seed)
        config = kind(vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
        config.intermediate_size = 48
        folder = str(tmp_path / str(seed))
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        options += [option, folder]
    merge_mergekit.main([f"--method={method}", *options, f"--output={tmp_path / 'merged'}"])
    _, report = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not any(report.values())


def test_what_mergekit_leaves_out_is_said(tmp_path):
    """Its names for the experts of a Mixtral are those in memory, not those in the files."""
    options = []
    for seed, option in enumerate(("--pivot", "--target", "--target")):
        torch.manual_seed(seed)
        folder = str(tmp_path / str(seed))
        AutoModelForCausalLM.from_config(CONFIGS["mixtral"](64)).save_pretrained(folder)
        options += [option, folder]
    with pytest.raises(UserError, match="mergekit does not merge this architecture as a whole"):
        merge_mergekit.main(["--method", "ties", *options, "--output", str(tmp_path / "merged")])
    assert not (tmp_path / "merged").exists()


def test_equal_targets_are_refused(models, tmp_path):
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    same = [*models[:4], "--target", str(tmp_path / "copy"), "--method", "ties"]
    with pytest.raises(UserError, match="equals a and copy"):
        merge_mergekit.main([*same, "--density", "1", "--output", str(tmp_path / "merged")])
