"""Model folders from pickles, from the hub and from links."""

import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest
import tiny_models
import torch
from safetensors.torch import load_file

import convert_checkpoint
import fetch_model
from fusionchat.errors import UserError
from fusionchat.models.loading import load_causal_lm
from fusionchat.models.model_folder import from_pickles
from fusionchat.models.pickled import read_checksums


def sums(folder: Path) -> Path:
    """Checksums as sha256sum prints them."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.glob("*.bin"))
    ]
    path = folder.parent / "sums.txt"
    path.write_text("".join(lines))
    return path


@pytest.fixture
def pickled(tmp_path) -> Path:
    """A model in two .bin files, with its embedding and head tied."""
    folder = tiny_models.save(tmp_path / "pickled", "qwen2")
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    names = sorted(state)
    parts = [names[:5], names[5:]]
    index = {}
    for i, part in enumerate(parts, 1):
        file = f"pytorch_model-0000{i}-of-00002.bin"
        torch.save({name: state[name] for name in part}, folder / file)
        index |= dict.fromkeys(part, file)
    facts = json.dumps({"metadata": {}, "weight_map": index})
    (folder / "pytorch_model.bin.index.json").write_text(facts)
    (folder / "modeling.py").write_text("raise SystemExit")
    return folder


def convert(folder: Path, output: Path, checksums: Path | None = None) -> None:
    argv = ["--checkpoint", str(folder), "--output", str(output)]
    convert_checkpoint.main([*argv, "--checksums", str(checksums or sums(folder))])


def test_a_converted_model_is_the_same(pickled, tmp_path):
    convert(pickled, tmp_path / "model")
    assert not list((tmp_path / "model").glob("*.bin*"))
    assert not (tmp_path / "model" / "modeling.py").exists()
    input_ids = torch.arange(3, 40)[None]
    hidden = load_causal_lm(tmp_path / "model", "float32").hidden(input_ids)
    torch.testing.assert_close(hidden, tiny_models.build("qwen2").model(input_ids)[0])
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    assert len(manifest["converted_from"]) == 2
    index = json.loads((tmp_path / "model" / "model.safetensors.index.json").read_text())
    assert len(index["weight_map"]) == manifest["tensors"]


def test_dtypes_stay(tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    shared = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3)
    state = {"a": shared, "b": shared.T, "c": torch.tensor(3), "d": shared[1]}
    torch.save(state, folder / "pytorch_model.bin")
    convert(folder, tmp_path / "out")
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert found.keys() == state.keys()
    for name, value in state.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)


def test_nothing_is_read_without_its_checksum(pickled, tmp_path):
    checksums = sums(pickled)
    lines = checksums.read_text().splitlines(keepends=True)
    checksums.write_text(lines[0])
    with pytest.raises(UserError, match="no checksum is known"):
        convert(pickled, tmp_path / "model", checksums)
    checksums.write_text(lines[0] + "0" * 64 + lines[1][64:])
    with pytest.raises(UserError, match="the sha256 is"):
        convert(pickled, tmp_path / "model", checksums)
    (pickled / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(UserError, match="lacks"):
        convert(pickled, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_pickles_are_not_replaced_by_what_is_made_of_them(pickled, tmp_path):
    with pytest.raises(UserError, match="would replace"):
        convert(pickled, pickled)
    assert len(list(pickled.glob("*.bin"))) == 2


def test_code_that_the_config_allows_is_kept(pickled, tmp_path):
    from_pickles(
        pickled, read_checksums(sums(pickled), pickled), tmp_path / "model", "x", code=True
    )
    assert (tmp_path / "model" / "modeling.py").exists()


def test_a_manifest_of_another_kind_is_refused(pickled, tmp_path):
    checksums = tmp_path / "sums.json"
    for content in ("[]", '{"files": []}', '{"files": {"pytorch_model.bin": 3}}'):
        checksums.write_text(content)
        with pytest.raises(UserError, match=r"no checksum is known|is no manifest"):
            convert(pickled, tmp_path / "model", checksums)


class Evil:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_pickle_is_not_run(tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    torch.save({"a": Evil(tmp_path / "ran")}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="more than tensors"):
        convert(folder, tmp_path / "out")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(tmp_path / "ran"), protocol=2))
    with pytest.raises(UserError, match="more than tensors"):
        convert(folder, tmp_path / "out")
    torch.save([torch.zeros(1)], folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="not a dictionary of tensors"):
        convert(folder, tmp_path / "out")
    assert not (tmp_path / "ran").exists()


def test_a_folder_of_ones_own_is_linked(tmp_path):
    folder = tiny_models.save(tmp_path / "own", "llama")
    (folder / "code.py").write_text("raise SystemExit")
    fetch_model.main(["--path", str(folder), "--output", str(tmp_path / "m")])
    assert (tmp_path / "m" / "model.safetensors").is_symlink()
    assert not (tmp_path / "m" / "code.py").exists()
    assert load_causal_lm(tmp_path / "m", "float32").vocab_size > 0
    for output in (folder, tmp_path):  # what is there would be lost
        with pytest.raises(UserError, match="would replace"):
            fetch_model.main(["--path", str(folder), "--output", str(output)])
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="convert_checkpoint"):
        fetch_model.main(["--path", str(folder), "--output", str(tmp_path / "n")])
