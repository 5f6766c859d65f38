"""Progress bars with rate and remaining time: live in a terminal, readable in a job's log file,
and from there, a line each running job, on the screen of the run.
"""

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import RLock, Thread
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

LOG_INTERVAL = 5.0  # seconds between the lines of a bar in a log
SCREEN_INTERVAL = 10.0  # seconds between looks at the logs
TAIL = 4096  # bytes of a log that hold its newest bar
# Parts of an item count, too, and are not shown with all their digits.
IN_PARTS = "{l_bar}{bar}| {n:.0f}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
LINE = re.compile(  # of a bar, or of a count whose end is not known
    r"(?:(?P<percent>\d+)%\|[^|]*\| )?(?P<done>\S+(?: [a-z]+)?)"
    r" \[[\d:]*:\d\d(?:<(?P<left>[^,]+))?, +(?P<rate>[^,\]]+)"
)

# tqdm's own lock is shared with forked processes, and one that is killed may keep it for ever.
tqdm.set_lock(RLock())


class Bar(tqdm):
    """A bar that parts of items may advance: rounding can add them up to more than the total."""

    def update(self, n: float = 1) -> bool | None:
        """Advance by `n`, to the total at most, since tqdm warns of more."""
        return super().update(n if self.total is None else min(n, self.total - self.n))


def progress(
    items: Iterable[Item] | None = None,
    *,
    total: float | None = None,
    unit: str = "it",
    **options: Any,
) -> "tqdm[Item]":
    """A tqdm bar on stderr: live in a terminal, one line every five seconds in a log file."""
    interval = 0.2 if sys.stderr.isatty() else LOG_INTERVAL
    options |= {"mininterval": interval, "dynamic_ncols": True}
    options["unit"] = unit if len(unit) < 3 else f" {unit}"  # "3.1MB/s", "3.1 dialogue/s"
    # Without `miniters` tqdm would skip updates by a rate that slower items no longer have.
    return Bar(items, total=total, miniters=0, **options)


def bars(logs: Path, since: float) -> Iterator[tuple[str, str]]:
    """What each log written to after `since` says of its unfinished job: its name, and a line."""
    for path in sorted(logs.rglob("*.log")):
        if path.stat().st_mtime < since:
            continue
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - TAIL))
            text = stream.read().decode("utf-8", errors="replace")
        shown = list(LINE.finditer(text))
        if shown and shown[-1]["percent"] != "100":
            name = path.relative_to(logs).with_suffix("").as_posix()
            done, rate, left = shown[-1].group("done", "rate", "left")
            yield name, f"{name}: {done}, {rate}" + (f", {left} left" if left else "")


def show_running_jobs(logs: str, say: Callable[[str], object]) -> None:
    """Say from now on, as long as this process lives, what the bars in the logs say anew."""

    def watch() -> None:
        said: dict[str, str] = {}
        while True:
            since = time.time() - 2 * SCREEN_INTERVAL
            time.sleep(SCREEN_INTERVAL)
            for name, line in bars(Path(logs), since):
                if said.get(name) != line:
                    said[name] = line
                    say(line)

    Thread(target=watch, daemon=True, name="running jobs").start()
