"""Faults in the middle of a run: each is followed by recovery and the results of a quiet run."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from micro_project import ROOT

from fusionchat.files import sha256

SHARD = "results/micro/logits/moe/0000.parquet"
TARGET = "results/micro/targets/clm/manifest.json"


def wait(condition: Callable[[], object], seconds: float = 240, every: float = 0.2) -> object:
    """The first true value of `condition`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(every)
    raise AssertionError("waited in vain")


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    out, err = process.communicate(timeout=400)
    assert (process.returncode == 0) == (code == 0), out + err
    return out + err


def start_node(name: str) -> None:
    """Start a node's daemon again."""
    subprocess.run([ROOT / ".ci" / "slurm", "node", name], check=True)


@pytest.fixture
def dumping(started):
    """The finished run without one shard of logits, on its way to get it back."""
    expected = sha256(started.folder / SHARD)
    (started.folder / SHARD).unlink()
    process = started.submit(SHARD)
    number = wait(lambda: started.job("rule_dump_logits"))
    yield started, process, number
    assert sha256(started.folder / SHARD) == expected


def test_a_cancelled_gpu_job_is_submitted_again(dumping):
    cluster, process, number = dumping
    subprocess.run(["scancel", number], check=True)
    assert "Trying to restart job" in finish(process)
    states = [j["JobState"] for j in cluster.jobs().values() if "dump_logits" in j["Comment"]]
    assert sorted(states) == ["CANCELLED", "COMPLETED"]


def test_a_job_outlives_the_node_daemon(dumping):
    cluster, process, number = dumping
    node = cluster.jobs()[number]["NodeList"]
    subprocess.run(["pkill", "-f", f"slurmd -N {node}$"], check=True)
    time.sleep(3)
    start_node(node)
    finish(process)


def test_a_killed_snakemake_can_be_started_again(dumping):
    cluster, process, number = dumping
    process.kill()
    process.wait()
    subprocess.run(["scancel", number], check=True)
    wait(lambda: not cluster.job("rule_dump_logits", "RUNNING COMPLETING"))
    assert cluster.snakemake("--unlock").returncode == 0
    cluster.run(SHARD)


def test_training_over_its_time_limit_resumes(started):
    config = yaml.safe_load((started.folder / "config.yaml").read_text())
    config["training"] |= {"epochs": 40, "save_steps": 10}
    (started.folder / "config.yaml").write_text(yaml.safe_dump(config))
    quiet = started.snakemake("--cores", "2", TARGET)
    assert quiet.returncode == 0, quiet.stderr
    model = started.folder / Path(TARGET).with_name("model.safetensors")
    losses = started.folder / Path(TARGET).with_name("loss.csv")
    expected = sha256(model), losses.read_text()
    (started.folder / TARGET).unlink()
    process = started.submit(TARGET)
    checkpoints = started.results / "checkpoints" / "clm"
    wait(lambda: list(checkpoints.glob("*/checkpoint-*/manifest.json")), every=0.02)
    number = wait(lambda: started.job("rule_train_target"))
    for pid in workers(started.folder):
        os.kill(pid, signal.SIGSTOP)  # it hangs until the limit, which is then the least possible
    subprocess.run(["scontrol", "update", f"JobId={number}", "TimeLimit=1"], check=True)
    assert "Trying to restart job" in finish(process)
    assert started.jobs()[number]["JobState"] == "TIMEOUT"
    log = (started.results / "logs" / "train_target" / "clm.log").read_text()
    assert int(re.search(r"(\d+)/120\b", log)[1]) >= 10
    assert (sha256(model), losses.read_text()) == expected


def workers(folder: Path) -> list[int]:
    """Training processes that run in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            here = os.readlink(process / "cwd") == str(folder)
            if here and b"train_target.py" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_a_truncated_shard_is_noticed(started):
    shard = started.folder / SHARD
    content = shard.read_bytes()
    spans = started.folder / "results/micro/spans/moe/0000.parquet"
    expected = sha256(spans)
    shard.write_bytes(content[: len(content) // 2])
    target = str(spans.relative_to(started.folder))
    finish(started.submit(target, "--retries", "0"), code=1)
    log = (started.results / "logs" / "align_tokens" / "moe" / "0000.log").read_text()
    assert "Traceback" not in log
    assert "moe/0000.parquet" in log
    shard.unlink()
    started.run(target)
    assert shard.read_bytes() == content
    assert sha256(spans) == expected
