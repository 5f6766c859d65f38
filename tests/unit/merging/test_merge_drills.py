"""Merges that are killed, and the memory that they take."""

import json
import os
import subprocess
import sys
from pathlib import Path

import kill_merges
import numpy as np
import pytest
from small_checkpoints import changed, random_arrays, write

import merge_varm


def peak_memory(program: str, *arguments: str) -> int:
    """Bytes that a program held in memory at most, in a process of its own."""
    code = (
        f"import re, sys, {program}\n"
        f"{program}.main(sys.argv[1:])\n"
        "print(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1])"
    )
    command = [sys.executable, "-c", code, *arguments]
    scripts = Path(merge_varm.__file__).parent
    found = subprocess.run(command, cwd=scripts, capture_output=True, text=True, check=True)
    return 1024 * int(found.stdout.splitlines()[-1])


@pytest.mark.parametrize("program", ["merge_varm", "merge_linear", "merge_sce"])
def test_memory_is_that_of_one_tensor_of_each_input(program, tmp_path):
    elements, count = 4_000_000, 8
    arrays = {f"layers.{number}.weight": np.zeros(elements, np.float32) for number in range(count)}
    options = ["--allow-equal", "--output", str(tmp_path / "merged")]
    for option, name in (("--pivot", "pivot"), ("--target", "a"), ("--target", "b")):
        options += [option, str(write(tmp_path / name, arrays))]
    peak_memory(program, *options)  # compiles, which takes memory once per installation
    assert peak_memory(program, *options) < 200e6 + (2 + 2) * 4 * elements


def test_a_killed_merge_is_never_seen_and_the_rerun_succeeds(tmp_path):
    pivot = random_arrays(0, (512, 256))
    write(tmp_path / "pivot", pivot)
    models = ["--pivot", str(tmp_path / "pivot")]
    for number, name in enumerate(("a", "b"), 1):
        models += ["--target", str(write(tmp_path / name, changed(pivot, number)))]
    output = tmp_path / "merged" / "model"
    # The killer forks from a process of its own: this one has threads by now.
    killer = [sys.executable, kill_merges.__file__]
    scripts = str(Path(merge_varm.__file__).parent)
    command = [*killer, *models, "--shard-size", "0.001", "--output", str(output)]
    environment = {**os.environ, "PYTHONPATH": scripts}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    facts = json.loads(found.stdout)
    assert facts["broken"] == 0
    assert facts["absent"] > 0  # some kills came before the end
    assert facts["rerun_equal"]
    assert [path.name for path in output.parent.iterdir()] == ["model"]
