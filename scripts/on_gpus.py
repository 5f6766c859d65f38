"""Run a command on GPUs of its own.

Commands started through this program never share a GPU: each takes free ones, waits while there are
too few, and gives them back when it ends, however it ends. Those are the machine's GPUs, or in a
SLURM job the ones that the job was given, which the jobs of a group hand on to each other.
"""

import argparse
import fcntl
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.errors import UserError


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gpus", type=cli.positive_int, help="GPUs that the command needs")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="and its arguments")
    return parser


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by CUDA's numbers or names."""
    if (listed := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in listed.split(",") if name]
    try:
        done = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    except FileNotFoundError:
        return []
    gpus = [line for line in done.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number in range(len(gpus))]


def take(gpus: Sequence[str], count: int, folder: Path) -> list[str]:
    """`count` of these GPUs, locked until this process and whatever takes its place end.

    One process at a time chooses, so that two never wait for each other's half.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        taken: list[str] = []
        while True:
            for name in gpus:
                if name not in taken and len(taken) < count and _locked(folder / name):
                    taken.append(name)
            if len(taken) == count:
                return taken
            time.sleep(0.5)


def _locked(path: Path) -> bool:
    """Take the lock of a file if it is free; the open file stays, also after an exec."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return False
    os.set_inheritable(handle, True)
    return True


def main(argv: Sequence[str] | None = None) -> None:
    """Take GPUs and become the command."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if not args.command:
        parser.error("name a command")
    gpus = visible_gpus()
    if len(gpus) < args.gpus:
        raise UserError(f"{args.gpus} GPUs are needed, {len(gpus)} are visible")
    # GPUs that SLURM gave to a job may have the numbers of another job's on the same machine. Where
    # it gives none, jobs come to terms like commands.
    given = "CUDA_VISIBLE_DEVICES" in os.environ and os.environ.get("SLURM_JOB_ID")
    folder = Path(tempfile.gettempdir(), f"fusionchat-gpus-{os.getuid()}-{given or 'machine'}")
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(take(gpus, args.gpus, folder))
    try:
        os.execvp(args.command[0], args.command)
    except OSError as error:
        raise UserError(f"{args.command[0]}: {error.strerror}") from error


if __name__ == "__main__":
    cli.run(main)
