"""Time to plan the run of six sources with 256 shards each, beside the same with 8 shards.

CPU seconds of `snakemake --profile slurm -n`, start included; other work on the machine matters
less for them than for the time on the clock.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
GOAL = 20.0  # seconds
COMMAND = [Path(sys.executable).parent / "snakemake", "--profile", "slurm", "-n"]


def planning_seconds(shards: int, folder: Path) -> float:
    """CPU seconds of a dry run with so many shards."""
    text = (ROOT / "configs" / "six_sources.yaml").read_text()
    config = folder / f"{shards}.yaml"
    config.write_text(text.replace("shards: 8", f"shards: {shards}"))
    before = os.times()
    subprocess.run(
        [*COMMAND, "--configfile", config],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    after = os.times()
    return (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="no difference here")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ours = planning_seconds(256, Path(folder))
        few = planning_seconds(8, Path(folder))
    record = {
        "name": "planning six sources x 256 shards",
        "ours": ours,
        "baseline": few,
        "ratio": ours / few,
        "unit": "s",
        "goal": f"at most {GOAL:.0f} s",
        "met": ours <= GOAL,
    }
    print(f"256 shards {ours:.1f} s, 8 shards {few:.1f} s, goal {GOAL:.0f} s: {record['met']}")
    if args.json:
        args.json.write_text(json.dumps([record], indent=1))


if __name__ == "__main__":
    main()
