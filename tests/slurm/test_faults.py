"""Faults in the middle of a run: each is followed by recovery and the results of a quiet run."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from micro_project import ROOT

from fusionchat.files import sha256

pytestmark = pytest.mark.timeout(2400)  # beside other tests, on two cores
SHARD = "results/micro/logits/moe/0000.parquet"
SPANS = "results/micro/spans/moe/0000.parquet"
TARGET = "results/micro/targets/clm/manifest.json"
MODEL = Path(TARGET).with_name("model.safetensors")


def wait(condition: Callable[[], object], seconds: float = 600, every: float = 0.3) -> object:
    """The first true value of `condition`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(every)
    raise AssertionError("waited in vain")


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    out, err = process.communicate(timeout=900)
    assert (process.returncode == 0) == (code == 0), out + err
    return out + err


def slurm(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def kill_node(name: str) -> None:
    """Let a node die with everything that runs on it."""
    for pid in slurm("ip", "netns", "pids", name).split():
        os.kill(int(pid), signal.SIGKILL)


def start_node(name: str) -> None:
    """Start a node's daemon again."""
    subprocess.run([ROOT / ".ci" / "slurm", "node", name], check=True)


def node_state(name: str) -> str:
    return slurm(
        "sinfo", "--noheader", "--nodes", name, "--partition", "test", "--format", "%t"
    ).strip()


@contextmanager
def drained(name: str) -> Iterator[None]:
    """Let a node take no more jobs."""
    slurm("scontrol", "update", f"NodeName={name}", "State=DRAIN", "Reason=drill")
    try:
        yield
    finally:
        slurm("scontrol", "update", f"NodeName={name}", "State=RESUME")


@contextmanager
def controller_away() -> Iterator[None]:
    """Stop the controller, and start it again at the end."""
    slurm("scontrol", "shutdown", "slurmctld")
    try:
        wait(lambda: subprocess.run(["pgrep", "-x", "-r", "D,R,S,I", "slurmctld"]).returncode)
        yield
    finally:
        slurm("slurmctld")
        wait(lambda: subprocess.run(["squeue"], capture_output=True).returncode == 0)


@pytest.fixture
def dumping(started):
    """The quiet run without a shard of logits and what follows, on its way to get them back."""
    expected = [sha256(started.folder / name) for name in (SHARD, SPANS)]
    for name in (SHARD, SPANS):
        (started.folder / name).unlink()
    process = started.submit(SPANS)
    number = wait(lambda: started.job("rule_dump_logits"))
    yield started, process, number
    assert [sha256(started.folder / name) for name in (SHARD, SPANS)] == expected


def attempts(cluster, rule: str) -> list[dict[str, str]]:
    """The jobs of a rule."""
    return [job for job in cluster.jobs().values() if job["Comment"].startswith(f"rule_{rule}")]


def test_a_dead_node_costs_its_jobs_and_nothing_later(dumping):
    cluster, process, number = dumping
    dead = cluster.jobs()[number]["NodeList"]
    kill_node(dead)
    wait(lambda: cluster.jobs()[number]["Restarts"] == "1")
    said = finish(process)
    start_node(dead)
    assert "sbatch failed" not in said
    assert {job["ExcNodeList"] for job in cluster.jobs().values()} == {"(null)"}
    assert cluster.jobs()[number]["NodeList"] != dead
    wait(lambda: node_state(dead) == "idle")
    (cluster.folder / SPANS).unlink()
    with drained(cluster.jobs()[number]["NodeList"]):
        cluster.run(SPANS)
    assert attempts(cluster, "align")[-1]["NodeList"] == dead


def test_a_drained_node_ends_what_it_has(dumping):
    cluster, process, number = dumping
    node = cluster.jobs()[number]["NodeList"]
    with drained(node):
        finish(process)
    assert cluster.jobs()[number]["NodeList"] == node
    assert attempts(cluster, "align")[-1]["NodeList"] != node


def test_a_preempted_job_comes_back(dumping):
    cluster, process, number = dumping
    node = cluster.jobs()[number]["NodeList"]
    words = ("sbatch", "--partition=urgent", "--account=tests", f"--nodelist={node}", "--exclusive")
    slurm(*words, "--output=/dev/null", "--wrap=sleep 2")
    assert "Trying to restart job" not in finish(process)
    assert int(cluster.jobs()[number]["Restarts"]) == 1


def test_a_requeued_job_comes_back(dumping):
    cluster, process, number = dumping
    slurm("scontrol", "requeue", number)
    assert "Trying to restart job" not in finish(process)
    assert int(cluster.jobs()[number]["Restarts"]) == 1


def test_a_cancelled_job_is_submitted_again(dumping):
    cluster, process, number = dumping
    slurm("scancel", number)
    assert "Trying to restart job" in finish(process)
    states = [job["JobState"] for job in attempts(cluster, "dump_logits")]
    assert sorted(states) == ["CANCELLED", "COMPLETED"]


def test_a_job_outlives_the_node_daemon(dumping):
    cluster, process, number = dumping
    node = cluster.jobs()[number]["NodeList"]
    subprocess.run(["pkill", "-f", f"slurmd -N {node}$"], check=True)
    time.sleep(3)
    start_node(node)
    finish(process)


def test_a_controller_that_is_away_costs_nothing(quiet, start_over):
    """Two runs at once, which ask for the states of their jobs by either command."""
    expected = [sha256(quiet.folder / name) for name in (SHARD, SPANS)]
    runs = {status: start_over(status) for status in ("sacct", "squeue")}

    def submit() -> list[subprocess.Popen[str]]:
        return [run.submit(SPANS, "--slurm-status-command", status) for status, run in runs.items()]

    for run in runs.values():
        (run.folder / SHARD).unlink()
        (run.folder / SPANS).unlink()
    processes = submit()
    wait(lambda: all(run.job("rule_dump_logits") for run in runs.values()))
    with controller_away():
        time.sleep(15)  # the jobs find nobody to ask for their steps, or to tell of their ends
    said = [finish(process) for process in processes]
    for run in runs.values():
        (run.folder / SPANS).unlink()
    with controller_away():
        processes = submit()
        wait(lambda: all("SLURM does not answer" in newest_log(run) for run in runs.values()))
    said += [finish(process) for process in processes]
    assert "Trying to restart job" not in "".join(said)
    for run in runs.values():
        assert [sha256(run.folder / name) for name in (SHARD, SPANS)] == expected


def test_a_killed_snakemake_is_not_followed_by_a_second_job(dumping):
    cluster, process, number = dumping
    process.kill()
    process.wait()
    assert cluster.snakemake("--unlock").returncode == 0
    assert f"`scancel {number}`; then start again" in finish(cluster.submit(SPANS), code=1)
    slurm("scancel", number)
    wait(lambda: not cluster.job("rule_dump_logits", "RUNNING COMPLETING"))
    cluster.snakemake("--unlock")
    cluster.run(SPANS)


def newest_log(cluster) -> str:
    """What the running snakemake has said."""
    logs = (cluster.folder / ".snakemake" / "log").glob("*.log")
    return max(logs, key=lambda path: path.stat().st_mtime).read_text()


def longer(cluster, **settings: object) -> None:
    """Let the training take longer."""
    path = cluster.folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["training"] |= settings
    path.write_text(yaml.safe_dump(config))


@pytest.fixture
def training(started):
    """A training of 120 steps, first quiet, then on SLURM until its first checkpoint is there."""
    longer(started, epochs=40, save_steps=10)
    quiet = started.snakemake("--cores", "2", TARGET)
    assert quiet.returncode == 0, quiet.stderr
    files = [started.folder / MODEL, started.folder / MODEL.with_name("loss.csv")]
    expected = [sha256(file) for file in files]
    (started.folder / TARGET).unlink()
    process = started.submit(TARGET)
    checkpoints = started.results / "checkpoints" / "clm"
    wait(lambda: list(checkpoints.glob("*/checkpoint-*/manifest.json")), every=0.02)
    number = wait(lambda: started.job("rule_train_target"))
    yield started, process, number
    assert [sha256(file) for file in files] == expected


def test_training_over_its_time_limit_gets_time_and_resumes(training):
    """Meanwhile nobody else gets its checkpoints."""
    cluster, process, number = training
    for pid in workers(cluster.folder):
        os.kill(pid, signal.SIGSTOP)  # it hangs until the limit, which is then the least possible
    slurm("scontrol", "update", f"JobId={number}", "TimeLimit=1")
    intruder = cluster.snakemake("--cores", "2", "--nolock", "--rerun-incomplete", TARGET)
    assert intruder.returncode == 1
    log = cluster.results / "logs" / "train_target" / "clm.log"
    assert re.search(
        rf"is being written by process \d+ on node\d, SLURM job {number};", log.read_text()
    )
    assert "Trying to restart job" in finish(process)
    first, second = attempts(cluster, "train_target")
    assert first["JobState"] == "TIMEOUT"
    assert second["MinMemoryNode"] == first["MinMemoryNode"]
    assert second["TimeLimit"] == "1-00:00:00"  # twice 12 hours
    assert int(re.search(r"(\d+)/120\b", log.read_text())[1]) >= 10


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


def test_training_on_two_nodes_asks_by_the_node_and_gives_the_same_weights(started):
    expected = sha256(started.folder / MODEL)
    longer(started, nodes=2)
    (started.folder / TARGET).unlink()
    started.run(TARGET)
    (job,) = attempts(started, "train_target")
    assert (job["NumNodes"], job["TresPerNode"]) == ("2", "gres:gpu:1")
    assert sha256(started.folder / MODEL) == expected


def test_a_full_disk_is_told_and_costs_nothing_else(started):
    shard = started.folder / SHARD
    expected = sha256(shard)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", shard.parent], check=True)
    try:
        finish(started.submit(SHARD, "--retries", "0"), code=1)
        log = (started.results / "logs" / "dump_logits" / "moe" / "0000.log").read_text()
        # A line of the program's own; torchrun adds what it thinks of its ranks.
        assert re.search(r"^error: .*No space left on device$", log, re.MULTILINE)
        subprocess.run(["mount", "-o", "remount,size=64m", shard.parent], check=True)
        started.run(SHARD)
        assert sha256(shard) == expected
    finally:
        subprocess.run(["umount", shard.parent], check=True)


def test_a_truncated_shard_is_noticed(started):
    shard = started.folder / SHARD
    content = shard.read_bytes()
    spans = started.folder / SPANS
    expected = sha256(spans)
    shard.write_bytes(content[: len(content) // 2])
    finish(started.submit(SPANS, "--retries", "0"), code=1)
    log = (started.results / "logs" / "align_tokens" / "moe" / "0000.log").read_text()
    assert "Traceback" not in log
    assert "moe/0000.parquet" in log
    shard.unlink()
    started.run(SPANS)
    assert shard.read_bytes() == content
    assert sha256(spans) == expected


def test_snakemake_in_a_job_without_account_and_accounting(started):
    """Where login nodes forbid long processes."""
    expected = sha256(started.folder / SPANS)
    (started.folder / SPANS).unlink()
    overlay = started.folder / "overlay" / "profile.yaml"
    overlay.write_text(overlay.read_text().replace("  slurm_account: tests\n", ""))
    words = "--profile slurm --profile overlay --slurm-no-account --slurm-status-command squeue"
    subprocess.run(
        [
            "sbatch",
            "--wait",
            "--mem=1000",
            "--output=outer.log",
            f"--wrap=snakemake {words} {SPANS}",
        ],
        cwd=started.folder,
        env=started.environment(),
        check=True,
    )
    assert sha256(started.folder / SPANS) == expected
