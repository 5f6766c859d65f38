"""Damage to finished models is seen without reading them."""

from collections.abc import Callable
from pathlib import Path

import pytest

import check
from fusionchat.errors import UserError
from fusionchat.files import write_manifest

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
