"""VaRM inside mergekit, named in a YAML, is ours bit for bit."""

import numpy as np
import pytest
import tiny_models
import yaml
from small_checkpoints import read

import merge_varm
import mergekit_yaml


@pytest.mark.parametrize("kind", ["llama", "qwen2"])  # untied and tied
@pytest.mark.parametrize("granularity", ["matrix", "parameter"])
def test_a_yaml_may_name_varm(kind, granularity, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folders = [
        str(tiny_models.save(tmp_path / name, kind, seed=seed))
        for seed, name in enumerate(("pivot", "a", "b"))
    ]
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
