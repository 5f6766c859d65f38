"""Progress bars with rate and remaining time that stay readable in a job's log file."""

import sys
from collections.abc import Iterable
from threading import RLock
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

# tqdm's own lock is shared with forked processes, and one that is killed may keep it for ever.
tqdm.set_lock(RLock())


def progress(
    items: Iterable[Item] | None = None, *, total: float | None = None, **options: Any
) -> "tqdm[Item]":
    """A tqdm bar on stderr: live in a terminal, one line every ten seconds in a log file."""
    interval = 0.2 if sys.stderr.isatty() else 10.0
    return tqdm(items, total=total, mininterval=interval, dynamic_ncols=True, **options)
