"""Damage to finished models is seen without reading them."""

from collections.abc import Callable
from pathlib import Path

import pytest

import check
from fusionchat.errors import UserError
from fusionchat.files import MANIFEST, MARKER, write_manifest
from fusionchat.models.finished import check_unchanged

WEIGHTS = "model.safetensors"
DAMAGE: dict[str, Callable[[Path], object]] = {
    "is missing": Path.unlink,
    "was changed or cut off": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "was changed": lambda path: path.write_bytes(bytes(len(path.read_bytes()))),
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three finished models and one that is being made."""
    for name in ("models/a", "targets/b", "merged/c", "targets/unfinished"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / WEIGHTS).write_bytes(name.encode() * 100_000)
        (folder / "config.json").write_text("{}")
        if "unfinished" not in name:
            write_manifest(folder, "test")
    return tmp_path


def test_whole_models_are_counted(results: Path, capsys: pytest.CaptureFixture[str]):
    check.main([f"--results={results}"])
    assert capsys.readouterr().out.startswith("3 finished models")


@pytest.mark.parametrize("message", DAMAGE)
@pytest.mark.parametrize("name", ["models/a", "targets/b", "merged/c"])
def test_each_damage_is_named_with_its_file(name: str, message: str, results: Path):
    DAMAGE[message](results / name / WEIGHTS)
    with pytest.raises(UserError, match=message) as caught:
        check.main([f"--results={results}"])
    assert str(results / name / WEIGHTS) in str(caught.value)


@pytest.mark.parametrize("name", ["chat_template.jinja", "modeling_own.py", "weights.csv"])
def test_no_file_is_left_out(name: str, results: Path):
    folder = results / "merged" / "c"
    (folder / name).write_text("as it was")
    write_manifest(folder, "test")
    check.main([f"--results={results}"])
    (folder / name).write_text("otherwise")
    with pytest.raises(UserError, match=rf"merged/c/{name} was changed"):
        check.main([f"--results={results}"])
    if name != "weights.csv":  # which loading does not read
        with pytest.raises(UserError, match=rf"merged/c/{name} was changed"):
            check_unchanged(folder)


@pytest.mark.parametrize("text", ['{"files": {', "[]", '{"filez": {}}', ""])
def test_a_damaged_manifest_is_named(text: str, results: Path):
    manifest = results / "targets" / "b" / MANIFEST
    (manifest.parent / MARKER).touch()
    manifest.write_text(text)
    with pytest.raises(UserError, match=r"targets/b/manifest\.json was changed or cut off"):
        check.main([f"--results={results}"])


def test_all_damaged_files_are_named(results: Path, capsys: pytest.CaptureFixture[str]):
    (results / "models" / "a" / WEIGHTS).unlink()
    (results / "merged" / "c" / "config.json").write_text("[]")
    with pytest.raises(UserError, match=r"merged/c/config\.json"):
        check.main([f"--results={results}"])
    assert "models/a/model.safetensors is missing" in capsys.readouterr().out


def test_a_link_to_weights_that_are_gone_is_named(results: Path):
    weights = results / "models" / "a" / WEIGHTS
    weights.rename(results / "elsewhere")
    weights.symlink_to(results / "elsewhere")
    check.main([f"--results={results}"])
    (results / "elsewhere").unlink()
    with pytest.raises(UserError, match=r"models/a/model\.safetensors is missing"):
        check.main([f"--results={results}"])
