"""Commands on one machine never share a GPU."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import on_gpus

PROGRAM = Path(__file__).resolve().parents[3] / "scripts" / "on_gpus.py"
SAY = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); input()"


@pytest.fixture
def start(tmp_path):
    """Start a command that says what it sees and ends when its input ends."""
    running = []

    def start(gpus: int, code: str = SAY, **variables: str) -> subprocess.Popen:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
        environment |= {"TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": "0,1,3"} | variables
        running.append(
            subprocess.Popen(
                [sys.executable, PROGRAM, str(gpus), sys.executable, "-c", code],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def seen(process: subprocess.Popen) -> list[str]:
    return process.stdout.readline().strip().split(",")


def test_each_gets_gpus_of_its_own_and_waits_for_free_ones(start):
    first, second = start(1), start(2)
    taken = seen(first) + seen(second)
    assert sorted(taken) == ["0", "1", "3"]
    third = start(2)
    time.sleep(1)
    assert third.poll() is None
    second.kill()
    given = seen(third)
    assert len(given) == 2
    assert not {*given} & {*taken[:1]}


def test_what_the_command_starts_does_not_keep_its_gpus(start):
    code = f"import subprocess; subprocess.Popen(['sleep', '60'], stdout=-3, stderr=-3); {SAY}"
    first = start(3, code)
    assert len(seen(first)) == 3
    first.kill()
    assert len(seen(start(3))) == 3


def test_slurm_jobs_keep_what_they_were_given_and_a_group_hands_it_on(start):
    one, other = (start(2, SLURM_JOB_ID=job, CUDA_VISIBLE_DEVICES="5,6") for job in "78")
    assert seen(one) == seen(other) == ["5", "6"]
    waiting = start(1, SLURM_JOB_ID="7", CUDA_VISIBLE_DEVICES="5,6")
    time.sleep(1)
    assert waiting.poll() is None
    one.kill()
    assert seen(waiting) in (["5"], ["6"])


def test_without_a_choice_all_of_the_machine_are_meant(tmp_path, monkeypatch):
    listing = "GPU 0: H100 (UUID: a)\n  MIG 1g.10gb Device 0: (UUID: b)\nGPU 1: H100 (UUID: c)"
    stand_in = tmp_path / "nvidia-smi"
    stand_in.write_text(f"#!/bin/sh\necho '{listing}'\n")
    stand_in.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert on_gpus.visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-a")
    assert on_gpus.visible_gpus() == ["3", "GPU-a"]


def test_too_few_gpus_and_commands_that_fail(start):
    _, told = start(4).communicate()
    assert told == "error: 4 GPUs are needed, 3 are visible\n"
    _, told = start(1, CUDA_VISIBLE_DEVICES="").communicate()
    assert told == "error: 1 GPUs are needed, 0 are visible\n"
    failing = start(1, "raise SystemExit(7)")
    failing.communicate()
    assert failing.returncode == 7
