"""VaRM inside mergekit, named in a YAML, is ours bit for bit."""

import numpy as np
import pytest
import tiny_models
import yaml
from endangered_folders import ENDANGERED, tree
from small_checkpoints import read

import merge_varm
import mergekit_yaml
from fusionchat.errors import UserError
from fusionchat.files import sha256


@pytest.mark.parametrize("kind", ["llama", "qwen2"])  # untied and tied
@pytest.mark.parametrize("granularity", ["matrix", "parameter"])
def test_a_yaml_may_name_varm(kind, granularity, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    # could be names of a hub; mergekit keeps models by name in this process
    folders = [f"{kind}-{granularity}-{name}" for name in ("pivot", "a", "b")]
    for seed, name in enumerate(folders):
        tiny_models.save(tmp_path / name, kind, seed=seed)
    config = {
        "merge_method": "varm",
        "base_model": folders[0],
        "models": [{"model": folder} for folder in folders[1:]],
        "parameters": {"granularity": granularity},
        "dtype": "float32",
    }
    (tmp_path / "varm.yaml").write_text(yaml.safe_dump(config))
    arguments = [str(tmp_path / "varm.yaml"), str(tmp_path / "theirs"), "--no-copy-tokenizer"]
    mergekit_yaml.main(arguments)
    options = [f"--pivot={folders[0]}", *(f"--target={folder}" for folder in folders[1:])]
    output = f"--output={tmp_path / 'ours'}"
    merge_varm.main([*options, f"--granularity={granularity}", output])
    ours, theirs = read(tmp_path / "ours"), read(tmp_path / "theirs")
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name].view(np.uint32), theirs[name].view(np.uint32))


@pytest.mark.parametrize("kind", ENDANGERED)
def test_nothing_of_a_strangers_is_touched(kind, tmp_path):
    text = "merge_method: varm\nbase_model: a/b\nmodels: [{model: a/c}, {model: a/d}]\n"
    (tmp_path / "varm.yaml").write_text(text)
    ENDANGERED[kind](tmp_path / "m", "mergekit_yaml")
    before = tree(tmp_path)
    with pytest.raises(UserError, match=r"\bm\b"):
        mergekit_yaml.main([str(tmp_path / "varm.yaml"), str(tmp_path / "m")])
    assert tree(tmp_path) == before


def test_a_merge_of_ours_is_spared_where_it_is_an_input(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folders = [str(tiny_models.save(tmp_path / n, "llama", seed=i)) for i, n in enumerate("abc")]
    config = {
        "merge_method": "varm",
        "base_model": folders[0],
        "models": [{"model": folder} for folder in folders[1:]],
        "dtype": "float32",
    }
    (tmp_path / "varm.yaml").write_text(yaml.safe_dump(config))
    merged = tmp_path / "m"
    arguments = [str(tmp_path / "varm.yaml"), str(merged), "--no-copy-tokenizer"]
    mergekit_yaml.main(arguments)
    mergekit_yaml.main(arguments)  # its own output is replaced
    config["models"][0]["model"] = str(merged)
    (tmp_path / "varm.yaml").write_text(yaml.safe_dump(config))
    before = sha256(merged / "model.safetensors")
    with pytest.raises(UserError, match=r"would replace .*/m; choose another folder"):
        mergekit_yaml.main(arguments)
    assert sha256(merged / "model.safetensors") == before


def test_what_is_no_configuration_is_named(tmp_path):
    (tmp_path / "varm.yaml").write_text("merge_method: varm")
    with pytest.raises(UserError, match=r"varm.yaml is no configuration of mergekit: Exactly one"):
        mergekit_yaml.main([str(tmp_path / "varm.yaml"), str(tmp_path / "m")])
    assert not (tmp_path / "m").exists()


def test_help_is_mergekits(capsys):
    mergekit_yaml.main(["--help"])
    assert "OUT_PATH" in capsys.readouterr().out
