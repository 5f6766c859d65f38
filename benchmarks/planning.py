"""Time to plan a run, and what each job of it pays for Snakemake's start.

The plan is that of six sources with 256 shards each, beside the same with 8 shards. The start is
what a job does on its node before its program begins: reading the workflow for its one rule, beside
a Snakemake that reads none. A job on SLURM starts Snakemake once, a training on several nodes
twice. All are CPU seconds, for which other work on the machine matters less than for the time on
the clock.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
GOAL = 20.0  # seconds for the plan
START_GOAL = 4.0  # seconds for what a job starts
SNAKEMAKE = Path(sys.executable).parent / "snakemake"
JOB = (
    "--cores",
    "1",
    "--nolock",
    "--quiet",
    "--dry-run",
    "--allowed-rules",
    "fetch_questions",
    "--",
)


def cpu_seconds(*arguments: object) -> float:
    """CPU seconds of Snakemake with these arguments."""
    before = os.times()
    subprocess.run([SNAKEMAKE, *map(str, arguments)], cwd=ROOT, check=True, capture_output=True)
    after = os.times()
    return (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )


def six_sources(shards: int, folder: Path) -> Path:
    """The configuration with so many shards."""
    text = (ROOT / "configs" / "six_sources.yaml").read_text()
    config = folder / f"{shards}.yaml"
    config.write_text(text.replace("shards: 8", f"shards: {shards}"))
    return config


def record(name: str, ours: float, baseline: float, goal: float) -> dict[str, object]:
    """One row of the results."""
    print(f"{name}: {ours:.1f} s, baseline {baseline:.1f} s, goal {goal:.0f} s: {ours <= goal}")
    return {
        "name": name,
        "ours": ours,
        "baseline": baseline,
        "ratio": ours / baseline,
        "unit": "s",
        "goal": f"at most {goal:.0f} s",
        "met": ours <= goal,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="no difference here")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    plan = ("--profile", "slurm", "--dry-run", "--configfile")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        many, few = six_sources(256, folder), six_sources(8, folder)
        planning = cpu_seconds(*plan, many), cpu_seconds(*plan, few)
        questions = "results/six_sources/mt_bench/questions/question.jsonl"
        starts = cpu_seconds("--configfile", many, *JOB, questions), cpu_seconds("--version")
    records = [
        record("planning six sources x 256 shards", *planning, GOAL),
        record("start of a job", *starts, START_GOAL),
    ]
    if args.json:
        args.json.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    main()
