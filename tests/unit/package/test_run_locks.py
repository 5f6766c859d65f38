"""Locks that know SLURM jobs; the kernel's own are tested with the folders that they guard."""

import json

import pytest

from fusionchat.errors import UserError
from fusionchat.locks import runs
from fusionchat.locks.runs import only_run


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """Puts a stand-in in the path that lists these jobs."""

    def lists(*jobs: str) -> None:
        lines = "\n".join(jobs)
        (tmp_path / "squeue").write_text(f"#!/bin/sh\necho '{lines}'\n")
        (tmp_path / "squeue").chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    return lists


@pytest.fixture
def left(tmp_path):
    """The lock file of job 7 on another host."""
    path = tmp_path / ".x.lock"
    facts = {"package": "fusionchat", "program": "p", "host": "node2", "process": 1, "job": "7"}
    path.write_text(json.dumps(facts))
    return path


def take(path) -> dict:
    with only_run(path, path.parent / "x", "p"):
        return json.loads(path.read_text())


def test_a_job_that_runs_elsewhere_keeps_its_lock_where_the_kernel_sees_one_host(left, squeue):
    squeue("7")
    with pytest.raises(UserError, match=r"process 1 on node2, SLURM job 7; wait .* `scancel 7`"):
        take(left)


def test_the_lock_of_a_job_that_is_gone_is_taken(left, squeue):
    squeue("")
    assert take(left)["job"] == "9"
    assert not left.exists()


@pytest.mark.parametrize(("listed", "free"), [(["7"], False), ([""], True)])
def test_without_locks_of_the_kernel_the_queue_decides(left, squeue, monkeypatch, listed, free):
    def no_locks(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(runs.fcntl, "flock", no_locks)
    squeue(*listed)
    if free:
        assert take(left)["job"] == "9"
    else:
        with pytest.raises(UserError, match="SLURM job 7"):
            take(left)


def test_a_job_that_slurm_put_back_into_the_queue_takes_its_own_lock(left, squeue, monkeypatch):
    squeue("7")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert take(left)["job"] == "7"


def test_a_silent_controller_leaves_it_to_the_kernel(left, monkeypatch):
    monkeypatch.setattr(runs, "_listed", lambda job: None)
    assert take(left)["host"]
