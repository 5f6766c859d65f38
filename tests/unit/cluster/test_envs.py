"""The conda environments hold what their programs import, in the versions of pyproject.toml."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from rule_files import program_of, read_rules

ROOT = Path(__file__).resolve().parents[3]
OWN = {"vllm": "0.33.0"}  # pins other versions of torch and transformers than the project
ENVS = sorted((ROOT / "envs").glob("*.yaml"))
# Engines of answer.py that the rule does not use; checks that Snakemake has made; --config by hand;
# transformers, where only a tokenizer.json is read.
UNUSED = {
    "answer": {"openai", "vllm"},
    "answer_alpaca": {"openai", "vllm"},
    "answer_elsewhere": {"jinja2", "torch", "transformers", "vllm"},
    "calibrate_judge": {"transformers"},
    "doctor": {"snakemake"},
    "judge": {"transformers"},
    "judge_alpaca": {"transformers"},
    "judge_pairs": {"transformers"},
    "plan": {"snakemake"},
    "report": {"fastchat", "jinja2", "snakemake", "tokenizers", "transformers"},
}


def pinned() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return dict(name.split("==") for name in project["dependencies"])


def packages_of(path: Path) -> list[str]:
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    return next(item["pip"] for item in dependencies if isinstance(item, dict))


@pytest.mark.parametrize("path", ENVS, ids=lambda path: path.stem)
def test_versions_equal_the_project_s(path: Path):
    for package in packages_of(path):
        name, version = package.split("==")
        assert pinned().get(name, OWN.get(name)) == version


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_with(path: Path) -> set[str]:
    """Packages of an environment and, transitively, what they require."""
    found, waiting = set(), [package.split("==")[0] for package in packages_of(path)]
    while waiting:
        name = plain(waiting.pop())
        if name in found:
            continue
        found.add(name)
        try:
            needed = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:
            continue
        waiting += [n.name for n in needed if n.marker is None or n.marker.evaluate({"extra": ""})]
    return found


def modules_of(tree: ast.AST) -> Iterator[str]:
    """Modules that a file may import when it runs: not those that are for annotations only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            yield from modules_of(node)


def imports_of(program: str) -> set[str]:
    """Top-level modules outside the standard library that a program may import."""
    found, _ = reached(program)
    return found - sys.stdlib_module_names - {"fusionchat"}


def reached(program: str) -> tuple[set[str], set[Path]]:
    """Top-level modules that a program may import, and the project's files among them."""
    found: set[str] = set()
    seen, waiting = set(), [ROOT / "scripts" / f"{program}.py"]
    while waiting:
        file = waiting.pop()
        if file in seen or not file.is_file():
            continue
        seen.add(file)
        for module in modules_of(ast.parse(file.read_text())):
            first, *rest = module.split(".")
            found.add(first)
            if first == "fusionchat":
                place = ROOT.joinpath("scripts", "fusionchat", *rest)
                waiting += [place.with_suffix(".py"), place / "__init__.py"]
    return found, seen


def test_environments_hold_what_their_programs_import():
    rules = read_rules()
    known = {path.name: installed_with(path) for path in ENVS}
    distributions = packages_distributions()
    missing = {}
    for name, rule in rules.items():
        there = known[
            re.findall(r"\.\./envs/([\w.]+)", rule["conda"])[-1]
        ]  # vLLM's own is before it
        for module in imports_of(program_of(rule)):
            if not there & {plain(name) for name in distributions.get(module, [])}:
                missing.setdefault(name, set()).add(module)
    assert missing == UNUSED
    assert len(rules) > 30


def test_accelerate_is_wherever_weights_are_loaded_or_checked():
    """transformers imports it itself, when it is told where weights go; vLLM does not bring it."""
    loading = ROOT / "scripts" / "fusionchat" / "models" / "loading.py"
    checked = set()
    for name, rule in read_rules().items():
        used = "transformers" not in UNUSED.get(name, set())
        if used and loading in reached(program_of(rule))[1]:
            checked |= set(re.findall(r"\.\./envs/([\w.]+)", rule["conda"]))
    assert {"models.yaml", "vllm.yaml"} <= checked
    assert [
        name for name in checked if "accelerate" not in installed_with(ROOT / "envs" / name)
    ] == []


def test_every_rule_s_environment_exists():
    named = {
        name
        for file in (ROOT / "rules").glob("*.smk")
        for name in re.findall(r'"\.\./envs/([\w.]+)"', file.read_text())
    }
    assert named == {path.name for path in ENVS}
