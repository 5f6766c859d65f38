"""One run at a time: a lock file that names the process, host and SLURM job that hold it."""

import fcntl
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from fusionchat.errors import UserError
from fusionchat.files import PACKAGE


@contextmanager
def only_run(path: Path, place: Path, program: str) -> Iterator[None]:
    """Hold the lock file `path` of `place`; `UserError` while another process holds it.

    The kernel frees the lock with the process, however that ends. Where the file system has no
    locks, or none between hosts, the host, process and SLURM job in the file must do.
    """
    with _locked(path, place) as stream:
        stream.truncate(0)
        holder = {"package": PACKAGE, "program": program, "host": socket.gethostname()}
        json.dump({**holder, "process": os.getpid(), "job": _job()}, stream)
        stream.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _job() -> str | None:
    return os.environ.get("SLURM_JOB_ID")


def _locked(path: Path, place: Path) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        raise UserError(f"{path} is in the way: no lock of this package; move it")
    while True:
        stream = path.open("a+", encoding="utf-8")
        try:
            holder = _holder(stream, path)
            if not _take(stream, holder):
                raise UserError(_occupied(path, place, holder))
            if path.exists() and os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                return stream
        except BaseException:
            stream.close()
            raise
        stream.close()  # its holder deleted the file between our opening and locking it


def _occupied(path: Path, place: Path, holder: dict[str, Any]) -> str:
    who = f"process {holder.get('process', '?')} on {holder.get('host', '?')}"
    if job := holder.get("job"):
        return (
            f"{place} is being written by {who}, SLURM job {job}; wait for it or `scancel {job}` "
            f"(if that job is gone: delete {path})"
        )
    return (
        f"{place} is being written by {who}; wait for it, or choose another --output "
        f"(if that process is gone: delete {path})"
    )


def _holder(stream: TextIO, path: Path) -> dict[str, Any]:
    """What a lock file says; empty if it is new."""
    stream.seek(0)
    text = stream.read()
    facts: Any = {}
    with suppress(ValueError):
        facts = json.loads(text or "{}")
    if text and (not isinstance(facts, dict) or facts.get("package") != PACKAGE):
        raise UserError(f"{path} is in the way: no lock of this package; move it")
    return facts


def _take(stream: TextIO, holder: dict[str, Any]) -> bool:
    """Lock the file, or say that somebody else has it."""
    try:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return not holder or _gone(holder)
    return not _at_work_elsewhere(holder)


def _gone(holder: dict[str, Any]) -> bool:
    """Whether the holder has surely ended."""
    if holder["host"] == socket.gethostname():
        return not _runs(holder)
    job = holder.get("job")
    return job is not None and (job == _job() or _listed(job) is False)


def _at_work_elsewhere(holder: dict[str, Any]) -> bool:
    """Whether the holder's job runs on another host, which our kernel's lock may not know."""
    job = holder.get("job")
    if job is None or job == _job() or holder["host"] == socket.gethostname():
        return False
    return _listed(job) is True


def _runs(holder: dict[str, Any]) -> bool:
    try:
        os.kill(int(holder["process"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _listed(job: str) -> bool | None:
    """Whether SLURM has this job in its queue; None where it does not say."""
    command = ["squeue", "--noheader", "--format", "%i", "--jobs", job]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return False if "Invalid job id" in done.stderr else None
    return bool(done.stdout.strip())
