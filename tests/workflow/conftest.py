"""A fresh clone for the tests that only plan."""

import pytest
from micro_project import ROOT, copy_project


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The project's files alone: nothing fetched, nothing run."""
    project = copy_project(tmp_path_factory.mktemp("clone") / "project")
    (project.folder / "config.yaml").write_text((ROOT / "config.yaml").read_text())
    return project
