"""How programs end when something outside them is wrong."""

import logging
import os
import signal

import pytest
from tqdm import tqdm

from fusionchat import cli
from fusionchat.errors import UserError
from fusionchat.progress import progress


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (UserError("x.json has\nno key a"), "error: x.json has no key a"),
        (PermissionError(13, "Permission denied", "x"), "error: [Errno 13] Permission denied: 'x'"),
    ],
)
def test_mistakes_and_files_out_of_reach_are_one_line(fault, line, capsys):
    def main(argv):
        raise fault

    with pytest.raises(SystemExit) as stop:
        cli.run(main)
    assert stop.value.code == 1
    assert capsys.readouterr().err == line + "\n"


def test_faults_of_the_program_keep_their_traceback():
    def main(argv):
        raise KeyError("a")

    with pytest.raises(KeyError):
        cli.run(main)


def test_addresses_are_not_logged():
    cli.run(lambda argv: None)
    assert not logging.getLogger("httpx2").isEnabledFor(logging.INFO)


def test_a_killed_fork_does_not_take_the_bars_lock_with_it():
    list(progress([1]))
    child = os.fork()
    if child == 0:
        tqdm.get_lock().acquire()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert tqdm.get_lock().acquire(timeout=5)
    tqdm.get_lock().release()


@pytest.mark.parametrize("given", ["", "active"])
def test_threads_that_wait_sleep_unless_told_otherwise(monkeypatch, given):
    environment = {"OMP_WAIT_POLICY": given} if given else {}
    monkeypatch.setattr(os, "environ", environment)
    cli.limit_threads(3)
    assert environment["OMP_WAIT_POLICY"] == (given or "passive")
    assert environment["OMP_NUM_THREADS"] == environment["NUMBA_NUM_THREADS"] == "3"
