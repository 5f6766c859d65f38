"""Limits of a run that calls an endpoint: requests a minute, calls and dollars."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from fusionchat.files import locked

FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
# What services take for a request in a batch, as a share of the price of a single call.
BATCH_PRICE = 0.5


class BudgetReachedError(Exception):
    """The next call could exceed the budget; what was paid for is in the store."""


@dataclass(frozen=True)
class Reservation:
    """What a call may cost: at most (all tokens that it may generate), and as calls so far went."""

    at_most_usd: float = 0.0
    expected_usd: float = 0.0


@dataclass
class Account:
    """What the calls in a store amount to: their number, the dollars, what got lost, what is due.

    `usd` is what was charged, with an estimate for calls whose reply was lost; calls in flight are
    not in it. `dearest_usd` and `longest` are the highest price and output (tokens) of a reply.
    """

    calls: int = 0
    usd: float = 0.0
    lost: int = 0
    in_flight: int = 0
    reserved: Reservation = Reservation()
    dearest_usd: float = 0.0
    longest: int = 0


class Admission(Enum):
    """Whether a call may leave."""

    GO = "now"
    WAIT = "when calls in flight have ended"


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

    def scaled(self, share: float) -> "Budget":
        """The same limits at a share of the prices."""
        return replace(
            self, input_price=self.input_price * share, output_price=self.output_price * share
        )

    def reserve(self, prompt_tokens: int, most_tokens: int, account: Account) -> Reservation:
        """What a call may cost, given the prices and lengths of the replies so far."""
        at_most = self.price(prompt_tokens, most_tokens)
        likely = max(account.dearest_usd, self.price(prompt_tokens, account.longest))
        return Reservation(at_most, min(likely, at_most) if account.longest else at_most)

    def admit(self, account: Account, call: Reservation) -> Admission:
        """Whether a call may leave; raises `BudgetReachedError` where none may any more.

        Calls in flight are expected to cost what calls did so far, and even if each of them costs
        the most that it may, they must leave something of the budget. So the sum can exceed the
        budget by the price of one call at most, and near its end fewer calls are in flight.
        """
        if self.max_calls is not None and account.calls + 1 > self.max_calls:
            if account.calls - account.in_flight + 1 > self.max_calls:
                raise BudgetReachedError(f"the limit of {self.max_calls} calls is reached")
            return Admission.WAIT  # what another process claims, it may still withdraw
        if self.max_usd is None:
            return Admission.GO
        expected = account.usd + account.reserved.expected_usd + call.expected_usd
        if max(expected, account.usd + account.reserved.at_most_usd) <= self.max_usd:
            return Admission.GO
        if account.in_flight:
            return Admission.WAIT
        raise BudgetReachedError(
            f"the next call may cost ${call.expected_usd:.4f}, and ${account.usd:.4f} of the "
            f"budget of ${self.max_usd:.2f} is spent"
        )


class Pace:
    """Spaces requests evenly over all threads, and pauses them all when the server asks for it.

    Processes that name the same `file` share the pace: it holds when the last request started
    (Unix time). A time that is not in the past comes from a clock that was set back, and a text
    that is no time from a damaged disk; both are taken for now, so that nobody waits for them.
    """

    def __init__(self, requests_per_minute: float | None, file: Path) -> None:
        self._interval = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._file = file
        self._paused_until = 0.0

    def wait(self, stop: threading.Event) -> None:
        """Wait for this request's turn, or until `stop` is set."""
        stop.wait(max(0.0, self._paused_until - time.monotonic()))
        while self._interval and not stop.is_set():
            pause = self._turn()
            if not pause:
                return
            stop.wait(pause)

    def _turn(self) -> float:
        """Take the next start if it is due (0.0), else the seconds until it is."""
        with locked(self._file) as stream:
            stream.seek(0)
            now = time.time()
            last = _unix_time(stream.read)
            strange = last is None or not last <= now
            pause = self._interval
            if last is not None and not strange:
                pause = max(0.0, last + self._interval - now)
            if strange or not pause:
                stream.truncate(0)
                stream.write(repr(now))
        return pause

    def pause(self, seconds: float) -> None:
        """Let no request of this process start within the next `seconds`."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)


def _unix_time(read: Callable[[], str]) -> float | None:
    """The time that a file holds: long ago if it is empty, None if it is unreadable."""
    try:
        return float(read() or 0.0)
    except ValueError:
        return None


def backoff(failures: int, first: float = FIRST_WAIT) -> float:
    """Seconds to wait after so many failures in a row: doubling, capped, with jitter."""
    ceiling = min(LONGEST_WAIT, first * 2.0 ** min(failures - 1, 30))
    return random.uniform(ceiling / 2, ceiling)
