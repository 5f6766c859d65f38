"""Fixtures that several test folders share."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import real_models
from micro_project import Project, copy_project

from fusionchat.files import read_json

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden vectors; GOLDEN_DIR names another one of the same layout."""
    return Path(os.environ.get("GOLDEN_DIR", ROOT / "tests" / "golden"))


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """A folder with the real SmolLM2-135M-Instruct, or the test is skipped."""
    return real_models.smollm2()


@pytest.fixture(scope="session")
def real_tokenizer() -> Callable[[str], Path]:
    """`real_tokenizer("llama2")`: a folder with that LLM's tokenizer, or the test is skipped."""
    return real_models.real_tokenizer


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The whole DAG of the micro configuration, run to its end."""
    project = copy_project(tmp_path_factory.mktemp("finished") / "project")
    run = project.snakemake("--cores", "2")
    assert run.returncode == 0, run.stdout + run.stderr
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished run that a test may change."""
    shutil.copytree(finished.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


@pytest.fixture
def manifest_of(finished: Project):
    """Reads a manifest of the finished run."""
    return lambda name: read_json(finished.results / name / "manifest.json")
