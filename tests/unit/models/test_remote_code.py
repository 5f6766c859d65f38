"""Code from a model's repository is fetched and run only where the config names its commit."""

import pytest
from alignment_cases import model_folder, sentencepiece_folder

import lock_models
from fusionchat.errors import UserError
from fusionchat.files import write_json
from fusionchat.models import hub
from fusionchat.models.remote_code import runs_code
from fusionchat.models.tokenizer import load_tokenizer


def test_a_folder_runs_code_only_if_its_manifest_says_so(tmp_path):
    assert not runs_code(tmp_path)
    write_json(tmp_path / "manifest.json", {"repo": "a/b"})
    assert not runs_code(tmp_path)
    write_json(tmp_path / "manifest.json", {"repo": "a/b", "remote_code": True})
    assert runs_code(tmp_path)


def test_a_tokenizer_that_transformers_knows_runs_no_code(tmp_path):
    """Such classes build a tokenizer that loses spaces under transformers 5."""
    folder = sentencepiece_folder(tmp_path / "m")
    write_json(folder / "manifest.json", {"remote_code": True})
    tokenizer = load_tokenizer(folder)
    assert tokenizer.decode(tokenizer.encode("the river", add_special_tokens=False)) == "the river"


CODE = """
import transformers
class Fast(transformers.PreTrainedTokenizerFast):
    vocab_files_names = {"pieces": "pieces.json"}
    def __init__(self, pieces, **settings):
        super().__init__(tokenizer_file=pieces, **settings)
"""


def coded_folder(folder, monkeypatch):
    """A tokenizer whose class is in the folder, beside its tokenizer.json."""
    from transformers import dynamic_module_utils

    modules = str(folder.parent / "modules")
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", modules)
    model_folder(folder, "A")
    (folder / "tokenization_x.py").write_text(CODE)
    classes = {"AutoTokenizer": [None, "tokenization_x.Fast"]}
    settings = {"auto_map": classes, "tokenizer_class": "Unknown"}
    write_json(folder / "tokenizer_config.json", settings)
    return folder


def test_a_tokenizer_that_only_its_code_knows_runs_it_if_allowed(tmp_path, monkeypatch):
    folder = coded_folder(tmp_path / "m", monkeypatch)
    (folder / "tokenizer.json").rename(folder / "pieces.json")
    with pytest.raises(UserError, match="holds no tokenizer that can be loaded"):
        load_tokenizer(folder)
    write_json(folder / "manifest.json", {"remote_code": True})
    assert type(load_tokenizer(folder)).__name__ == "Fast"


def test_where_there_is_a_tokenizer_json_no_code_runs(tmp_path, monkeypatch):
    folder = coded_folder(tmp_path / "m", monkeypatch)
    write_json(folder / "manifest.json", {"remote_code": True})
    (folder / "tokenization_x.py").write_text("raise SystemExit('this ran')")
    assert type(load_tokenizer(folder)).__name__ != "Fast"


def test_code_needs_a_commit(tmp_path, capsys):
    with pytest.raises(SystemExit):
        lock_models.main(
            ["--model", "m=a/b@main", "--remote-code", "--output", str(tmp_path / "lock.json")]
        )
    assert "commit of 40" in capsys.readouterr().err


def test_code_is_left_out_unless_asked_for():
    names = ["config.json", "model.safetensors", "modeling_x.py", "tokenizer.json"]
    assert "modeling_x.py" not in hub.chosen_files(names)
