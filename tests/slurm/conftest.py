"""A project on a real SLURM, and what its jobs asked for and saw."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from micro_project import Project, copy_project

SHARD = "results/micro/logits/moe/0000.parquet"
SPANS = "results/micro/spans/moe/0000.parquet"
TARGET = "results/micro/targets/clm/manifest.json"
OVERLAY = Path(__file__).parent / "overlay"
RECORDER = """#!/bin/sh
echo "${CUDA_VISIBLE_DEVICES:-none} $*" >> "$RECORD"
exec "$REAL_PYTHON" "$@"
"""


def missing_slurm() -> str:
    """Why no SLURM can be used, or nothing."""
    if not shutil.which("sbatch"):
        return "SLURM is not installed (.ci/slurm installs one)"
    state = subprocess.run(["sinfo", "-h", "-o", "%G %a"], capture_output=True, text=True)
    if "gpu:2 up" not in state.stdout:
        return "SLURM does not run with two stand-in GPUs (.ci/slurm starts it)"
    return ""


@pytest.fixture(scope="session", autouse=True)
def slurm():
    """Skips without SLURM; in CI that is a failure."""
    if why := missing_slurm():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)


@dataclass(frozen=True)
class Cluster(Project):
    """A project whose `python` records each call's job and visible GPUs."""

    def environment(self) -> dict[str, str]:
        """Snakemake's environment, with the recorder in the place of python."""
        plain = super().environment()
        return plain | {
            "PATH": f"{self.folder}/recorder:{plain['PATH']}:/usr/sbin",
            "RECORD": str(self.folder / "seen.txt"),
            "REAL_PYTHON": sys.executable,
        }

    def submit(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `snakemake --profile slurm` with the tests' overlay."""
        return self.start("--profile", "slurm", "--profile", "overlay", *arguments)

    def run(self, *arguments: str) -> str:
        """Run `snakemake --profile slurm` to its end; returns what it wrote."""
        return self.ended(self.submit(*arguments))

    def ended(self, process: subprocess.Popen[str]) -> str:
        """Wait until a submitted run has succeeded; returns what it wrote."""
        out, err = process.communicate(timeout=2000)
        assert process.returncode == 0, out + err
        return out + err

    def jobs(self) -> dict[str, dict[str, str]]:
        """This project's SLURM jobs by number, as `scontrol show job` describes them."""
        text = subprocess.run(
            ["scontrol", "show", "job", "-o", "-d"], capture_output=True, text=True
        )
        found = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.stdout.splitlines()]
        return {job["JobId"]: job for job in found if job.get("WorkDir") == str(self.folder)}

    def job(self, comment: str, states: str = "RUNNING") -> str | None:
        """The number of the job with this comment that is in one of these states."""
        for number, job in self.jobs().items():
            if job["Comment"].startswith(comment) and job["JobState"] in states.split():
                return number
        return None

    def seen(self) -> dict[str, set[str]]:
        """The GPUs that each program saw: program to values of CUDA_VISIBLE_DEVICES."""
        result: dict[str, set[str]] = {}
        for line in (self.folder / "seen.txt").read_text().splitlines():
            gpus, _, words = line.partition(" ")
            program = re.search(r"scripts/(\w+)\.py", words)[1]
            result.setdefault(program, set()).add(gpus)
        return result


def on_slurm(folder: Path) -> Cluster:
    """Give a project the overlay and the recorder."""
    shutil.copytree(OVERLAY, folder / "overlay", dirs_exist_ok=True)
    recorder = folder / "recorder" / "python"
    recorder.parent.mkdir(exist_ok=True)
    recorder.write_text(RECORDER)
    recorder.chmod(0o755)
    return Cluster(folder)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory) -> Cluster:
    """A new project of the micro configuration, on SLURM."""
    folder = tmp_path_factory.mktemp("slurm") / "project"
    copy_project(folder)
    return on_slurm(folder)


@pytest.fixture(scope="session")
def quiet(tmp_path_factory) -> Project:
    """What the drills make again, made locally and without trouble."""
    project = copy_project(tmp_path_factory.mktemp("quiet") / "project")
    run = project.make("--cores", "2", SPANS, TARGET)
    assert run.returncode == 0, run.stdout + run.stderr
    return project


@pytest.fixture
def start_over(quiet, tmp_path) -> Callable[[str], Cluster]:
    """`start_over(name)`: a copy of the quiet run, on SLURM."""

    def copy(name: str) -> Cluster:
        shutil.copytree(quiet.folder, tmp_path / name, symlinks=True)
        return on_slurm(tmp_path / name)

    return copy


@pytest.fixture
def started(start_over) -> Cluster:
    """A copy of the quiet run, on SLURM."""
    return start_over("project")
