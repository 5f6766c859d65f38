"""Programs in forks of the test process, which has imported what they need."""

import os
import traceback
from collections.abc import Callable, Sequence


def start(main: Callable[[list[str]], None], argv: Sequence[object]) -> int:
    """Run a program's `main` in a fork; returns its process id."""
    child = os.fork()
    if child == 0:
        try:
            main([str(option) for option in argv])
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    return child


def finish(child: int) -> int:
    """Wait for a fork; its exit code, negative for the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
