"""The conda environments name the same versions as pyproject.toml."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from fusionchat.sources import source_files

ROOT = Path(__file__).resolve().parents[2]
OWN = {"vllm": "0.33.0"}  # pins other versions of torch and transformers than the project
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
        assert pinned().get(name, OWN.get(name)) == version


@pytest.mark.parametrize("name", ["align_tokens", "map_vocabulary", "report_alignment"])
def test_environments_hold_what_the_alignment_imports(name: str):
    rule = (ROOT / "rules" / "alignment.smk").read_text().split(f"rule {name}:")[1]
    path = ROOT / re.search(r"\.\./(envs/\w+\.yaml)", rule)[1]
    imported = {
        module.split(".")[0]
        for file in source_files(ROOT / "scripts" / f"{name}.py")
        for node in ast.walk(ast.parse(file.read_text()))
        for module in _modules(node)
    }
    packages = imported - sys.stdlib_module_names - {"fusionchat"}
    assert packages <= set(re.findall(r"- (\w+)==", path.read_text()))


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def test_every_rule_s_environment_exists():
    named = {
        name
        for file in (ROOT / "rules").glob("*.smk")
        for name in re.findall(r'"\.\./envs/([\w.]+)"', file.read_text())
    }
    assert named == {path.name for path in ENVS}
