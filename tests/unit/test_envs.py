"""The conda environments name the same versions as pyproject.toml."""

import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ENVS = sorted((ROOT / "envs").glob("*.yaml"))


def pinned() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return dict(name.split("==") for name in project["dependencies"])


@pytest.mark.parametrize("path", ENVS, ids=lambda path: path.stem)
def test_versions_equal_the_project_s(path: Path):
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    packages = next(item["pip"] for item in dependencies if isinstance(item, dict))
    for package in packages:
        name, version = package.split("==")
        assert pinned()[name] == version


def test_every_rule_s_environment_exists():
    named = {
        line.strip().strip('"').removeprefix("../envs/")
        for file in (ROOT / "rules").glob("*.smk")
        for line in file.read_text().splitlines()
        if '"../envs/' in line
    }
    assert named == {path.name for path in ENVS}
