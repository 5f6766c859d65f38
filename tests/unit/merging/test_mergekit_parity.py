"""merge_mergekit gives mergekit's own bits, in every method, tied and untied."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from small_checkpoints import read
from test_architectures import tiny_model
from transformers import AutoModelForCausalLM

import merge_linear
import merge_mergekit
from fusionchat.files import read_json
from fusionchat.merging.methods.mergekit_configs import METHODS, mergekit_config
from fusionchat.merging.methods.mergekit_runs import run_mergekit

KINDS = ("llama", "qwen2", "mistral", "gemma2")  # qwen2 and gemma2 are tied


@pytest.fixture(scope="module", params=KINDS)
def folders(request, tmp_path_factory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp(request.param)
    return {
        name: tiny_models.save(place / name, request.param, seed=seed)
        for seed, name in enumerate(("pivot", "a", "b"))
    }


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bits_are_mergekits(method, dtype, folders, tmp_path):
    compare(method, dtype, folders, tmp_path)


# The other architectures that mergekit merges whole, each with one of the methods. Tied models of
# phi3 and stablelm it refuses, and so do we: their output layer is not stored.
OTHERS = [
    *(("qwen3", True, "slerp"), ("olmo2", True, "ties"), ("gemma3_text", True, "dare_linear")),
    *(("phi3", False, "sce_mergekit"), ("stablelm", False, "task_arithmetic")),
    *(("granite", True, "slerp"), ("starcoder2", False, "ties"), ("glm4", False, "dare_linear")),
    *(("phi", False, "slerp"), ("gpt2", True, "task_arithmetic")),
]


@pytest.mark.parametrize(("kind", "tied", "method"), OTHERS)
def test_bits_of_other_architectures_are_mergekits(kind, tied, method, tmp_path):
    folders = {name: tmp_path / name for name in ("pivot", "a", "b")}
    for seed, folder in enumerate(folders.values()):
        torch.manual_seed(seed)
        model = tiny_model(kind, AutoModelForCausalLM, tie_word_embeddings=tied)
        model.save_pretrained(folder)
    compare(method, "float32", folders, tmp_path)


def compare(method: str, dtype: str, folders: dict[str, Path], place: Path) -> None:
    """Merge by mergekit itself and by us below `place`; every bit must be the same."""
    targets = {name: folders[name] for name in "ab"}
    config = mergekit_config(
        method,
        folders["pivot"],
        targets,
        layers=2,
        dtype=dtype,
        weights={"a": 0.25, "b": 0.5},
        density=0.5,
        select_topk=0.1,
    )
    run_mergekit(config, place / "theirs", seed=0, threads=1)
    shutil.copy(folders["pivot"] / "config.json", place / "theirs")
    options = [f"--pivot={folders['pivot']}", f"--method={method}", f"--dtype={dtype}"]
    options += [f"--target={folder}" for folder in targets.values()]
    options += ["--weight=a=0.25", "--weight=b=0.5"]
    merge_mergekit.main([*options, f"--output={place / 'ours'}"])
    ours, theirs = read(place / "ours"), read(place / "theirs")
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name].view(np.uint32), theirs[name].view(np.uint32))


@pytest.mark.parametrize(
    ("stored", "dtype"),
    [("float32", "float32"), ("bfloat16", "bfloat16"), ("bfloat16", "float32")],
)
def test_linear_is_mergekits_where_that_rounds_once(stored, dtype, folders, tmp_path):
    """Two equal weights: half of a sum is exact. mergekit rounds to float32 before bfloat16."""
    targets = [recast(folders[name], tmp_path / name, stored) for name in "ab"]
    config = {
        "merge_method": "linear",
        "models": [{"model": str(folder), "parameters": {"weight": 1.0}} for folder in targets],
        **{"dtype": "float32", "out_dtype": dtype},
    }
    run_mergekit(config, tmp_path / "theirs", seed=0, threads=1)
    shutil.copy(folders["pivot"] / "config.json", tmp_path / "theirs")
    options = [f"--pivot={folders['pivot']}", *(f"--target={folder}" for folder in targets)]
    merge_linear.main([*options, f"--dtype={dtype}", f"--output={tmp_path / 'ours'}"])
    ours, theirs = read(tmp_path / "ours"), read(tmp_path / "theirs")
    for name in ours:
        np.testing.assert_array_equal(ours[name].view(np.uint32), theirs[name].view(np.uint32))


def recast(folder: Path, copy: Path, dtype: str) -> Path:
    """The model with its weights in another type."""
    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    cast = {name: tensor.to(getattr(torch, dtype)) for name, tensor in weights.items()}
    save_file(cast, copy / "model.safetensors", {"format": "pt"})
    return copy


def test_the_default_type_is_the_targets_not_that_of_mergekits_own_result(folders, tmp_path):
    """mergekit's result lies beside the targets in float32 until it is rounded."""
    targets = [recast(folders[name], tmp_path / name, "bfloat16") for name in "ab"]
    options = [f"--pivot={folders['pivot']}", *(f"--target={folder}" for folder in targets)]
    options += ["--method=ties"]
    merge_mergekit.main([*options, f"--output={tmp_path / 'default'}"])
    merge_mergekit.main([*options, "--dtype=bfloat16", f"--output={tmp_path / 'named'}"])
    default, named = (load_file(tmp_path / f / "model.safetensors") for f in ("default", "named"))
    for name, tensor in default.items():
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(tensor, named[name])


def test_a_dry_run_tells_the_loss_and_writes_nothing(folders, tmp_path, capsys):
    options = [f"--pivot={folders['pivot']}", "--method=ties", "--dtype=bfloat16"]
    options += [f"--target={folders[name]}" for name in "ab"]
    output = tmp_path / "m"
    merge_mergekit.main([*options, f"--output={output}", "--dry-run"])
    told = capsys.readouterr().out
    assert not output.exists()
    merge_mergekit.main([*options, f"--output={output}"])
    lost = read_json(output / "manifest.json")["rounding"]["lost"]["norm"]
    assert lost > 0
    assert f"rounding to bfloat16 loses {lost:.1%} of the change" in told


def test_task_arithmetic_may_scale(folders, tmp_path):
    options = [f"--pivot={folders['pivot']}", "--method=task_arithmetic", "--no-normalise"]
    options += [f"--target={folders[name]}" for name in "ab"]
    weights = ["--weight=a=0.5", "--weight=b=0.5"]
    merge_mergekit.main([*options, *weights, f"--output={tmp_path / 'm'}"])
    merged, pivot, a, b = (read(f) for f in (tmp_path / "m", *folders.values()))
    for name in merged:
        expected = pivot[name] + 0.5 * (a[name] - pivot[name]) + 0.5 * (b[name] - pivot[name])
        np.testing.assert_allclose(merged[name], expected, rtol=1e-5, atol=1e-5)
    double = ["--weight=a=1", "--weight=b=1"]
    merge_mergekit.main([*options, *double, f"--output={tmp_path / 'm'}"])
    assert any((read(tmp_path / "m")[name] != merged[name]).any() for name in merged)
