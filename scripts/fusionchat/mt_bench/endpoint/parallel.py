"""Many calls at once in threads, stopped together."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class StoppedError(Exception):
    """Another thread has ended the run."""


def run_all(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    concurrency: int,
    stop: threading.Event,
) -> Iterator[tuple[Item, Result]]:
    """Yield (item, result) as they finish.

    The first exception sets `stop`, after which `work` may raise `StoppedError`: no other item
    begins, calls in flight are waited for, because they are paid for, and the exception is raised.
    """

    def guarded(item: Item) -> Result:
        try:
            return work(item)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(concurrency) as pool:
        futures = {pool.submit(guarded, item): item for item in items}
        try:
            for future in as_completed(futures):
                if not isinstance(future.exception(), StoppedError):
                    yield futures[future], future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
