"""The benchmark of transferred distributions, on generated text."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[3] / "benchmarks" / "transfer_accuracy.py"


def run(*arguments):
    command = [sys.executable, PROGRAM, "--quick", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("rules", [["ours"], ["likelihood"], ["steps", "released", "listed"]])
def test_any_of_the_rules_can_be_measured_alone(tmp_path, rules):
    done = run("--rules", *rules, "--json", tmp_path / "found.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    baselines = {record["baseline"] is None for record in found}
    assert baselines == {"ours": {True}, "likelihood": set(), "steps": {False}}[rules[0]]


def test_pictures_name_the_rules_that_they_need(tmp_path):
    done = run("--rules", "ours", "--pictures", tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith("shows the rules listed, ours, steps; name them in --rules\n")
