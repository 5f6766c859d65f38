"""Programs in one process of their own, which imports torch once and may be short of disk.

Run as a program it takes one JSON line a run from its standard input and answers with one.
"""

import contextlib
import importlib
import io
import json
import os
import resource
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

AS_ON_MACOS = Path(__file__).parent / "as_on_macos"  # for PYTHONPATH
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@dataclass(frozen=True)
class Finished:
    """How a run ended, and what it said."""

    returncode: int
    stderr: str


@dataclass(frozen=True)
class Host:
    """A process that runs one program after another."""

    process: subprocess.Popen[str]

    def run(self, program: str, options: Sequence[str], largest: int | None = None) -> Finished:
        """Run a program, which may write files of `largest` bytes at most."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([program, list(options), largest]) + "\n")
        self.process.stdin.flush()
        return Finished(**json.loads(self.process.stdout.readline()))


@contextlib.contextmanager
def host(**environment: str) -> Iterator[Host]:
    """A host for as long as the block lasts, with more in its environment."""
    command, env, pipe = [sys.executable, __file__], os.environ | environment, subprocess.PIPE
    with subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, text=True) as process:
        yield Host(process)
        assert process.stdin
        process.stdin.close()


def _run(program: str, options: list[str], largest: int | None) -> Finished:
    """The program's `main` as a shell would see it."""
    from fusionchat import cli

    code, said = 0, io.StringIO()
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest or hard, hard))
        try:
            cli.run(importlib.import_module(program).main, options)
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
            code = 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    return Finished(code, said.getvalue())


if __name__ == "__main__":
    sys.path.insert(0, str(SCRIPTS))
    answers = sys.stdout
    for line in sys.stdin:
        print(json.dumps(vars(_run(*json.loads(line)))), file=answers, flush=True)
