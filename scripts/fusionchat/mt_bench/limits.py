"""Limits of a run that calls an endpoint: requests a minute, calls and dollars."""

import random
import threading
import time
from dataclasses import dataclass

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
    """Spaces requests evenly over all threads, and pauses them all when the server asks for it."""

    def __init__(self, requests_per_minute: float | None) -> None:
        self._interval = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self, stop: threading.Event) -> None:
        """Wait for this request's turn, or until `stop` is set."""
        with self._lock:
            start = max(self._next, time.monotonic())
            self._next = start + self._interval
        stop.wait(max(0.0, start - time.monotonic()))

    def pause(self, seconds: float) -> None:
        """Let no request start within the next `seconds`."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


def backoff(failures: int, first: float = FIRST_WAIT) -> float:
    """Seconds to wait after so many failures in a row: doubling, capped, with jitter."""
    ceiling = min(LONGEST_WAIT, first * 2 ** (failures - 1))
    return random.uniform(ceiling / 2, ceiling)
