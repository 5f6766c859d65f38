"""A SLURM of shell scripts."""

import pytest
from sinfo_lines import nodes


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Stand-ins for the scheduler's commands: name to shell text."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def install(**texts: str) -> None:
        for name, text in texts.items():
            path = folder / name
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o755)

    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    install(sbatch="", squeue="", scancel="", scontrol="echo is UP", sacct="exit 1")
    install(sinfo=nodes("cpu*", "gpu"), sacctmgr="echo lab", srun="echo no >&2; exit 1")
    return install
