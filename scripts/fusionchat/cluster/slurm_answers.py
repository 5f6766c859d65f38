"""What SLURM's commands tell."""

import re
import subprocess
from pathlib import Path

from fusionchat.cluster.attempts import MEMORY

# What sbatch, srun, sacctmgr and sshare say while the controller or the database is away.
AWAY = re.compile(
    r"unable to contact slurm controller|socket timed out|communication connection failure"
    r"|zero bytes were transmitted|temporarily unable to accept|controller in standby mode"
    r"|problem talking to the database|connection refused|unable to connect to database"
    r"|slurm_persist_conn_open|unexpected message received|connection reset by peer"
    r"|transport endpoint is not connected|insane message length",
    re.IGNORECASE,
)


def failure_reason(state: str, number: str) -> str:
    """Why a job failed; where only one of its steps lacked memory, SLURM calls the job FAILED.

    Sites without accounting do not tell; there it may always have been memory.
    """
    if state != "FAILED":
        return state
    steps = answer("sacct", "--noheader", "--parsable2", "--format", "State", "--jobs", number)
    return MEMORY if steps is None or MEMORY in steps else state


def srun_was_cut_off(log: Path) -> bool:
    """Whether a log says that srun found no controller."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return False
    return any(line.startswith("srun: error: ") and AWAY.search(line) for line in lines)


def answer(*command: str) -> str | None:
    """What a command of SLURM's prints; None where it fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def log_file(number: str) -> Path:
    """Where a job's log is written."""
    match = re.search(r"StdOut=(.+)", answer("scontrol", "show", "job", number) or "")
    return Path(match[1] if match else f"slurm-{number}.out")
