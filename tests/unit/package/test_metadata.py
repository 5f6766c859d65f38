"""What the package says of itself is the same everywhere."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
CODEMETA = json.loads((ROOT / "codemeta.json").read_text())
PYTHONS = ["3.11", "3.12", "3.13"]


def test_version_licence_and_authors_agree():
    assert PROJECT["version"] == CITATION["version"] == CODEMETA["version"]
    assert PROJECT["license"] == CITATION["license"]
    assert CODEMETA["license"] == f"https://spdx.org/licenses/{PROJECT['license']}"
    authors = [author["name"] for author in PROJECT["authors"]]
    assert authors == [author["name"] for author in CITATION["authors"]]
    assert authors == [author["name"] for author in CODEMETA["author"]]
    paper = CITATION["preferred-citation"]
    assert CODEMETA["referencePublication"]["name"] == paper["title"]
    assert CODEMETA["referencePublication"]["identifier"] == paper["journal"]


def test_supported_pythons_agree():
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
    assert CODEMETA["softwareRequirements"] == ["Python >= 3.11, < 3.14"]
    badge, said = re.findall(r"Python (3\.\d+ to 3\.\d+)", (ROOT / "README.md").read_text())
    assert badge == said == f"{PYTHONS[0]} to {PYTHONS[-1]}"
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "check.yml").read_text())
    assert workflow["jobs"]["quick"]["strategy"]["matrix"]["python"] == PYTHONS


@pytest.mark.parametrize(
    ("version", "taken"), [("(3, 10, 9)", False), ("(3, 14, 0)", False), ("(3, 13, 5)", True)]
)
def test_another_python_is_refused_before_anything_is_installed(version, taken, tmp_path):
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "requirements.lock").touch()
    python = tmp_path / "python"
    fake = f"import sys; sys.version_info = {version}; exec(sys.argv[1])"
    python.write_text(
        f"#!/bin/sh\n[ $1 = -c ] && exec {sys.executable} -c '{fake}' \"$2\"\nexit 9\n"
    )
    python.chmod(0o755)
    words = ["make", "-f", str(ROOT / "Makefile"), ".venv/.ready", f"PYTHON={python}"]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode != 0
    assert ("error: Python 3.11 to 3.13 is needed" in run.stdout) != taken
    assert ("installing into .venv" in run.stdout) == taken
