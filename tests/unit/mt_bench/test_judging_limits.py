"""What several runs share: calls and money that are counted, a pace, files that may be damaged."""

import fcntl
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise

import pytest
from judge_runs import KEY, options, whole
from mt_bench_server import FakeModel, serve

import judge
from fusionchat.errors import UserError
from fusionchat.mt_bench.endpoint.endpoint import Endpoint
from fusionchat.mt_bench.endpoint.limits import Budget, BudgetReachedError, Pace
from fusionchat.mt_bench.endpoint.settings import EndpointOptions
from fusionchat.mt_bench.endpoint.store import Request, ResponseStore


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def request(key: str, usd: float = 0.0) -> Request:
    """A request whose longest reply costs so much."""
    return Request(key, 0, 1_000_000, Budget(output_price=usd))


def test_the_budget_in_calls_stops_cleanly_and_goes_on(tmp_path):
    model = FakeModel()
    with serve(model) as url:
        arguments = options(tmp_path, url, count=8, **{"max-calls": 10})
        with pytest.raises(UserError, match=r"limit of 10 calls.*run again"):
            judge.main(arguments)
        assert len(model.requests) == 10
        judge.main([*arguments, "--max-calls=16"])
    assert len(model.requests) == 16


@pytest.mark.parametrize("concurrency", [1, 8])
def test_the_budget_in_dollars_is_spent_and_never_exceeded(tmp_path, concurrency):
    model = FakeModel()
    prices = {"input-price": 10, "output-price": 30, "budget-usd": 0.07}
    with serve(model) as url, pytest.raises(UserError, match=r"budget of \$0.07"):
        judge.main(options(tmp_path, url, **prices, concurrency=concurrency))
    account = ResponseStore(tmp_path / "store").account()
    call = (100 * 10 + 10 * 30) / 1e6
    assert account.calls == len(model.requests)
    assert account.usd == pytest.approx(account.calls * call)
    assert 0.07 - call < account.usd <= 0.07


def test_two_runs_at_once_do_not_overdraw_their_common_budget(tmp_path, monkeypatch):
    account = ResponseStore.account

    def slow(self, besides=""):
        found = account(self, besides)
        time.sleep(0.02)
        return found

    monkeypatch.setattr(ResponseStore, "account", slow)
    budget = Budget(max_calls=10)
    model = FakeModel()
    with serve(model) as url:
        endpoints = [
            Endpoint(EndpointOptions(url, "m", budget=budget), ResponseStore(tmp_path))
            for _ in range(2)
        ]

        def ask(number: int) -> None:
            messages = [{"role": "user", "content": str(number)}]
            with suppress(BudgetReachedError):
                endpoints[number % 2].complete(messages, temperature=0.0, max_tokens=5)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(24)))
    assert len(model.requests) == 10


class Clock:
    """A clock for tests, and an event that lets it run while something waits."""

    def __init__(self, monkeypatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "time", lambda: self.now)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def is_set(self) -> bool:
        return False


def starts(clock: Clock, *paces: Pace, count: int = 6) -> list[float]:
    """When so many requests start, each of the next one of the processes."""
    began = []
    for number in range(count):
        paces[number % len(paces)].wait(clock)
        began.append(clock.now)
    return began


def test_two_runs_at_once_keep_to_their_common_pace(tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    paces = [Pace(1200, tmp_path / "pace") for _ in range(2)]
    began = starts(clock, *paces)
    assert began == pytest.approx([1000.0, 1000.05, 1000.10, 1000.15, 1000.20, 1000.25])
    paces[0].pause(9.0)
    assert starts(clock, paces[0], count=1) == pytest.approx([1009.25])


@pytest.mark.parametrize("held", ["1e12", "no time", "nan", "\x00\x00", "inf", "-inf", "5"])
def test_a_damaged_pace_or_a_clock_that_was_set_back_costs_one_interval(
    tmp_path, monkeypatch, held
):
    clock = Clock(monkeypatch)
    (tmp_path / "pace").write_text(held)
    began = starts(clock, Pace(60, tmp_path / "pace"))
    assert began[0] <= 1001.0 + 1e-6
    assert [b - a for a, b in pairwise(began)] == pytest.approx([1.0] * 5)


def test_a_full_disk_stops_the_run_and_leaves_no_half_line(tmp_path, monkeypatch):
    store = ResponseStore(tmp_path)
    call = store.claim(request("key"), None)
    write, full = os.write, []

    def failing(descriptor: int, data: bytes) -> int:
        if full:
            raise OSError(28, "No space left on device")
        full.append(True)
        return write(descriptor, data[:10])

    monkeypatch.setattr(os, "write", failing)
    with pytest.raises(UserError, match=r"calls-.*cannot be written: No space left"):
        store.lost(call, "any")
    monkeypatch.undo()
    store.lost(call, "any")
    store.close()
    account = ResponseStore(tmp_path).account()
    assert (account.calls, account.lost, account.in_flight) == (1, 1, 0)


def test_a_file_system_without_locks_is_enough(tmp_path, monkeypatch):
    def unsupported(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with serve(FakeModel()) as url:
        judge.main(options(tmp_path, url, count=8))
    account = ResponseStore(tmp_path / "store").account()
    assert (account.calls, account.lost) == (16, 0)


def test_torn_lines_in_the_store_are_ignored(tmp_path):
    with serve(FakeModel()) as url:
        arguments = options(tmp_path, url, count=8)
        judge.main(arguments)
        segment = next((tmp_path / "store").glob("*.jsonl"))
        segment.write_bytes(segment.read_bytes()[:-30])
        judge.main(arguments)
    events = [json.loads(line) for p in (tmp_path / "store").glob("*") for line in whole(p)]
    assert sum(e["event"] == "response" for e in events) == 16


def test_a_damaged_store_is_explained(tmp_path):
    (tmp_path / "calls-1.jsonl").write_text('{"event": "response", "call": "x"}\n')
    with pytest.raises(UserError, match=r"calls-1.jsonl: is damaged"):
        ResponseStore(tmp_path)


def test_calls_in_flight_in_another_live_process_are_not_lost(tmp_path):
    writer = ResponseStore(tmp_path)
    writer.claim(request("key", usd=0.5), None)
    reader = ResponseStore(tmp_path)
    assert (reader.account().lost, reader.account().usd) == (0, 0.0)
    assert reader.account().reserved.at_most_usd == 0.5
    assert reader.claim(request("key"), None) is None
    writer.close()
    reader.refresh()
    assert (reader.account().lost, reader.account().usd) == (1, 0.5)
    assert reader.claim(request("key"), None)
