"""What a job asks for again depends on why it failed."""

import pytest

from fusionchat.cluster import attempts


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(attempts, "_failures", {})
    monkeypatch.delenv(attempts.VARIABLE, raising=False)


def asked(attempt: int) -> tuple[int, int]:
    """Doublings of time and memory."""
    return tuple(
        attempts.doublings("train", ["clm"], attempt, reason)
        for reason in (attempts.TIME, attempts.MEMORY)
    )


def test_only_what_was_lacking_is_doubled():
    assert asked(1) == (0, 0)
    attempts.note("train", ["clm"], "TIMEOUT")
    assert asked(2) == (1, 0)
    attempts.note("train", ["clm"], "OUT_OF_MEMORY")
    attempts.note("train", ["multi"], "TIMEOUT")
    assert asked(3) == (1, 1)
    attempts.note("train", ["clm"], "FAILED")
    assert asked(4) == (1, 1)


def test_a_jobs_own_process_asks_for_the_same(monkeypatch):
    monkeypatch.setenv(attempts.VARIABLE, "TIMEOUT FAILED TIMEOUT")
    assert asked(4) == (2, 0)


def test_without_a_reason_each_attempt_counts():
    assert asked(3) == (2, 2)
