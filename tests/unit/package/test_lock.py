"""requirements.lock pins every package of pyproject.toml and of the conda environments."""

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def locked() -> dict[str, list[Requirement]]:
    """The lock's lines by package; one may have several, for different Pythons or platforms."""
    result: dict[str, list[Requirement]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            requirement = Requirement(line)
            result.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return result


def project_requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*map(Requirement, project["dependencies"] + project["optional-dependencies"]["test"])]


def version(requirement: Requirement) -> str:
    (pin,) = requirement.specifier
    assert pin.operator == "=="
    return pin.version


@pytest.mark.parametrize("requirement", project_requirements(), ids=lambda r: r.name)
def test_the_lock_satisfies_the_project(locked, requirement):
    for line in locked[canonicalize_name(requirement.name)]:
        assert requirement.specifier.contains(version(line)), f"{line}: run `make lock`"


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("platform", ["linux/x86_64", "linux/aarch64", "darwin/arm64"])
def test_every_python_and_platform_has_one_version_of_each_package(locked, python, platform):
    system, machine = platform.split("/")
    place = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": system,
        "platform_system": system.capitalize(),
        "platform_machine": machine,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    for name, lines in locked.items():
        fitting = [one for one in lines if one.marker is None or one.marker.evaluate(place)]
        assert len(fitting) <= 1, name
    for requirement in project_requirements():
        name = canonicalize_name(requirement.name)
        assert [r for r in locked[name] if r.marker is None or r.marker.evaluate(place)], name


def test_everything_that_the_project_needs_here_is_locked(locked):
    waiting, seen = project_requirements(), set()
    while waiting:
        name = canonicalize_name(waiting.pop().name)
        if name in seen:
            continue
        seen.add(name)
        assert name in locked, f"{name} is not in requirements.lock: run `make lock`"
        try:
            needs = map(Requirement, distribution(name).requires or [])
        except PackageNotFoundError:  # for another platform
            continue
        waiting += [n for n in needs if n.marker is None or n.marker.evaluate({"extra": ""})]


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_conda_environments_have_the_locked_versions(locked, path):
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    packages = next(item["pip"] for item in dependencies if isinstance(item, dict))
    for package in map(Requirement, packages):
        name = canonicalize_name(package.name)
        if name in locked:
            assert version(package) in {version(line) for line in locked[name]}, name
