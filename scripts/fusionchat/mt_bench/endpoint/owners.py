"""Who writes to a store, and whether that process still runs.

On its own machine a process is looked up. One on another machine, which shares the folder, shows
that it lives by touching its file; nobody compares clocks, a file only has to keep changing.
"""

import os
import platform
import time
import uuid
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

HEARTBEAT = 5.0
# Longer than the time for which network file systems keep the times of files.
PATIENCE = 90.0
_writers: set["Owner"] = set()


@dataclass(frozen=True)
class Owner:
    """A writer of a process: its machine (with its process namespace), the process's number, when
    it started there.
    """

    machine: str
    pid: int
    started: str
    writer: str


@lru_cache(maxsize=1)
def _machine() -> str:
    facts = [platform.node()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            facts.append(os.readlink(path) if "/ns/" in path else Path(path).read_text().strip())
        except OSError:
            facts.append(f"{uuid.getnode():x}")
    return " ".join(facts)


def new_owner() -> Owner:
    """A new writer of this process, alive until it is given up or the process ends."""
    owner = Owner(_machine(), os.getpid(), _started(os.getpid()) or "", uuid.uuid4().hex[:16])
    _writers.add(owner)
    return owner


def give_up(owner: Owner) -> None:
    """Note that a writer of this process has ended."""
    _writers.discard(owner)


def _started(pid: int) -> str | None:
    """When a process of this machine started (ticks; "" where unknown), None if it is gone."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return None if facts[0] in "ZX" else facts[19]
    except (OSError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return ""


class Watch:
    """Tells which owners live, and remembers when files of other machines last changed."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[int, float]] = {}

    def is_alive(self, owner: Owner | None, file: Path) -> bool:
        """Whether the process that writes a file still runs."""
        if owner is None:
            return False
        if owner.machine != _machine():
            return self._changes(file)
        if owner.pid == os.getpid():
            return owner in _writers
        return _started(owner.pid) == owner.started

    def _changes(self, file: Path) -> bool:
        try:
            with file.open("rb") as stream:  # opened, for a network file system to look again
                changed = os.fstat(stream.fileno()).st_mtime_ns
        except OSError:
            return False
        now = time.monotonic()
        if self._seen.get(file, (None, 0.0))[0] != changed:
            self._seen[file] = (changed, now)
        return now - self._seen[file][1] < PATIENCE
