"""Code from a model's repository is fetched and run only where the config names its commit."""

import pytest

import lock_models
from fusionchat.files import write_json
from fusionchat.models import hub
from fusionchat.models.remote_code import runs_code


def test_a_folder_runs_code_only_if_its_manifest_says_so(tmp_path):
    assert not runs_code(tmp_path)
    write_json(tmp_path / "manifest.json", {"repo": "a/b"})
    assert not runs_code(tmp_path)
    write_json(tmp_path / "manifest.json", {"repo": "a/b", "remote_code": True})
    assert runs_code(tmp_path)


def test_code_needs_a_commit(tmp_path, capsys):
    with pytest.raises(SystemExit):
        lock_models.main(
            ["--model", "m=a/b@main", "--remote-code", "--output", str(tmp_path / "lock.json")]
        )
    assert "commit of 40" in capsys.readouterr().err


def test_code_is_left_out_unless_asked_for():
    names = ["config.json", "model.safetensors", "modeling_x.py", "tokenizer.json"]
    assert "modeling_x.py" not in hub.chosen_files(names)
