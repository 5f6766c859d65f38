"""Runs VaRM merges and kills them at random moments; prints what was seen under the final name.

A program of its own, so that it can fork while it has a single thread and everything is imported.
"""

import json
import os
import random
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

from tqdm import tqdm

import merge_varm
from fusionchat.files import checksums


def merge(arguments: list[str], delay: float | None = None) -> None:
    """Merge in a child that is killed after `delay` seconds; without a delay it must succeed."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            merge_varm.main(arguments)
            status = 0
        finally:
            os._exit(status)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if delay is None and status:
        raise SystemExit("a merge that was not killed failed")


def main(arguments: list[str]) -> None:
    """Twenty kills; every other run replaces an existing model."""
    output = Path(arguments[-1])
    tqdm.monitor_interval = 0  # its thread would not survive the fork
    tqdm.set_lock(threading.RLock())  # its own lock is shared by processes: a kill would keep it
    merge_varm.main(arguments)  # compiles
    start = time.perf_counter()
    merge(arguments)
    duration = time.perf_counter() - start
    expected = checksums(output)
    rng = random.Random(1)
    absent = broken = 0
    for attempt in range(20):
        if attempt % 2:
            merge(arguments)
        else:
            shutil.rmtree(output, ignore_errors=True)
        merge(arguments, rng.uniform(0, 1.2 * duration))
        if output.exists():
            files = json.loads((output / "manifest.json").read_text())["files"]
            broken += not files == checksums(output) == expected
        else:
            absent += 1
    merge(arguments)
    facts = {"absent": absent, "broken": broken, "rerun_equal": checksums(output) == expected}
    print(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1:])
