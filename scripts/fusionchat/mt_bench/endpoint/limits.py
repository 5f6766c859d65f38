"""Limits of a run that calls an endpoint: requests a minute, calls and dollars."""

import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from fusionchat.files import locked

FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0


class BudgetReachedError(Exception):
    """The next call could exceed the budget; what was paid for is in the store."""


@dataclass(frozen=True)
class Budget:
    """Dollars a million tokens, and the most that a store's calls may amount to (None: any)."""

    input_price: float = 0.0
    output_price: float = 0.0
    max_usd: float | None = None
    max_calls: int | None = None

    def price(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Dollars for a call with so many tokens."""
        return (prompt_tokens * self.input_price + completion_tokens * self.output_price) / 1e6

    def check(self, calls: int, usd: float, next_usd: float) -> None:
        """Raise `BudgetReachedError` when one more call could exceed a limit."""
        if self.max_calls is not None and calls + 1 > self.max_calls:
            raise BudgetReachedError(f"the limit of {self.max_calls} calls is reached")
        if self.max_usd is not None and usd + next_usd > self.max_usd:
            raise BudgetReachedError(
                f"the next call may cost ${next_usd:.4f}, and ${usd:.4f} of the budget of "
                f"${self.max_usd:.2f} is spent or in flight"
            )


class Pace:
    """Spaces requests evenly over all threads, and pauses them all when the server asks for it.

    Processes that name the same `file` share the pace: it holds when the next request may start.
    """

    def __init__(self, requests_per_minute: float | None, file: Path) -> None:
        self._interval = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._file = file
        self._paused_until = 0.0

    def wait(self, stop: threading.Event) -> None:
        """Wait for this request's turn, or until `stop` is set."""
        start = max(self._paused_until, self._turn() if self._interval else 0.0)
        stop.wait(max(0.0, start - time.time()))

    def _turn(self) -> float:
        """Take the next free start (Unix time)."""
        with locked(self._file) as stream:
            stream.seek(0)
            now = time.time()
            start = max(now, float(stream.read() or 0.0))
            stream.truncate(0)
            stream.write(repr(start + self._interval))
        return start

    def pause(self, seconds: float) -> None:
        """Let no request of this process start within the next `seconds`."""
        self._paused_until = max(self._paused_until, time.time() + seconds)


def backoff(failures: int, first: float = FIRST_WAIT) -> float:
    """Seconds to wait after so many failures in a row: doubling, capped, with jitter."""
    ceiling = min(LONGEST_WAIT, first * 2 ** (failures - 1))
    return random.uniform(ceiling / 2, ceiling)
