"""A training learns from its own job that time is nearly over, whatever the scheduler does."""

import os
import re

import yaml

TARGET = "results/micro/targets/clm/manifest.json"
STAND_IN = """#!/bin/sh
echo "$@" > seen.txt
shift 2
"$@" &
until grep -q "/1200 " results/micro/logs/train_target/clm.log; do sleep 0.2; done
kill -TERM $!
wait $!
"""


def words(runtime: int) -> tuple[str, ...]:
    """What snakemake is called with to train for so many minutes at most."""
    return TARGET, "--cores", "2", "--set-resources", f"train_target:runtime={runtime}"


def test_on_slurm_it_saves_a_checkpoint_five_minutes_before_the_end(project):
    """Two ranks under torchrun; a stand-in for `timeout` does not wait so long."""
    config = yaml.safe_load((project.folder / "config.yaml").read_text())
    config["training"] |= {"epochs": 400, "save_steps": 10_000}
    (project.folder / "config.yaml").write_text(yaml.safe_dump(config))
    stand_in = project.folder / "bin" / "timeout"
    stand_in.parent.mkdir()
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    path = f"{stand_in.parent}:{project.environment()['PATH']}"
    assert project.snakemake(*words(720), SLURM_JOB_ID="1", PATH=path).returncode == 1
    seen = (project.folder / "seen.txt").read_text()
    assert seen.startswith("--foreground 42900 python -m torch.distributed.run ")
    log = (project.results / "logs" / "train_target" / "clm.log").read_text()
    step = int(re.search(r"stopped at step (\d+) of 1200", log)[1])
    (checkpoint,) = (project.results / "checkpoints" / "clm").glob("*/checkpoint-*")
    assert checkpoint.name == f"checkpoint-{step}"
    assert (checkpoint / "manifest.json").is_file()


def test_elsewhere_nothing_limits_it(project):
    os.remove(project.folder / TARGET)
    run = project.make(*words(1))
    assert run.returncode == 0, run.stderr
