"""Snakemake in forks of one process that has imported it: imports are most of a dry run.

Run as a program it takes one JSON line a run from its standard input and answers with one.
"""

import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path


def run_snakemake(
    folder: Path, words: tuple[str, ...], env: dict[str, str]
) -> tuple[int, str, str]:
    """The exit code, standard output and standard error of snakemake in a folder."""
    server = _server()
    assert server.stdin
    assert server.stdout
    server.stdin.write(json.dumps([str(folder), words, env]) + "\n")
    server.stdin.flush()
    code, out, err = json.loads(server.stdout.readline())
    return code, out, err


@cache
def _server() -> subprocess.Popen[str]:
    """Ends with the test process, which closes its standard input."""
    pipe = subprocess.PIPE
    env = os.environ | {"LC_ALL": "C.UTF-8"}
    return subprocess.Popen([sys.executable, __file__], stdin=pipe, stdout=pipe, text=True, env=env)


def _become(folder: str, words: list[str], env: dict[str, str], out: int, err: int) -> None:
    """Be snakemake in a fork, and never return."""
    from snakemake.cli import main

    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # jobs must not read the server's requests
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(env)
        sys.argv, sys.stdin = ["snakemake", *words], open(0, closefd=False)  # noqa: SIM115
        main()
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
        if isinstance(leave.code, str):
            print(leave.code, file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _serve() -> None:
    import gc

    import jsonschema  # noqa: F401 (what the project's rules import, too)
    import smart_open  # noqa: F401
    import snakemake.api
    import snakemake.cli

    snakemake.cli.get_argument_parser()  # which looks for plugins and imports them
    gc.freeze()
    gc.set_threshold(50_000)
    for line in sys.stdin:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            pid = os.fork()
            if not pid:
                _become(*json.loads(line), out.fileno(), err.fileno())
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode())
        print(json.dumps([code, *said]), flush=True)


if __name__ == "__main__":
    _serve()
