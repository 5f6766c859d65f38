"""A `python` that runs the project's programs in forks of one process, which has imported torch.

Imports are most of a small job. `forked_python()` is a folder for PATH with that `python` in it.
What starts neither a program of the project nor torch's ranks becomes the real one, and so do the
programs that need a hub, for its library reads its address while it is imported. As a program, this
file is the server (`serve SOCKET`) or the client (`SOCKET WORDS`), which ends as its fork does.
"""

import json
import os
import socket
import sys
from contextlib import suppress
from functools import cache

PYTHON = """#!/bin/sh
[ "$1" = -u ] && shift  # as torch.distributed.run starts its ranks
case "$1 $2" in
scripts/fetch_*|scripts/lock_*) ;;
scripts/*.py*|"-m torch.distributed.run")
  PYTHON_EXEC="$0" exec {python} -I -S {file} {socket} "$@" ;;
esac
exec {python} "$@"
"""
READY = b"ready\n"
# What the programs take long to import, and the fonts, which matplotlib looks for.
LIBRARIES = """deepspeed jsonschema lm_eval.evaluator lm_eval.models.huggingface numba pandas
    matplotlib.backends.backend_agg matplotlib.backends.backend_svg matplotlib.figure
    matplotlib.font_manager mergekit.config scipy.stats transformers.models.auto.modeling_auto
    transformers.models.llama.modeling_llama transformers.models.mistral.modeling_mistral
    transformers.models.mixtral.modeling_mixtral transformers.trainer""".split()


@cache
def forked_python(**environment: str) -> str:
    """The folder; its server has `environment` from its start, and ends with this process."""
    import subprocess
    import tempfile
    from pathlib import Path

    folder = Path(tempfile.mkdtemp(prefix="python-"))  # short, for a socket's path is limited
    program, path = folder / "python", folder / "socket"
    program.write_text(PYTHON.format(python=sys.executable, file=__file__, socket=path))
    program.chmod(0o755)
    own = {"HOME": str(folder), "OMP_WAIT_POLICY": "passive"}
    own |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    own |= {"PYTHONDONTWRITEBYTECODE": ""}  # forks of one project read what the first compiled
    server = subprocess.Popen(
        [sys.executable, __file__, "serve", str(path)],
        env=os.environ | own | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    _SERVERS.append(server)  # whose standard input stays open
    assert server.stdout
    while (line := server.stdout.readline()) != READY:  # libraries say something, too
        assert line, "the server has ended"
    return str(folder)


_SERVERS: list[object] = []


def _call(path: str, words: list[str]) -> int:
    """Have words run in a fork with this process's files, folder and environment."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        said = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
        socket.send_fds(server, [b"%d\n" % len(said)], [0, 1, 2])
        server.sendall(said)
        answer = server.recv(8)
    return int(answer) if answer else 1


def _serve(path: str) -> tuple[list[str], str, dict[str, str]]:
    """Answer calls; returns in each fork what it is to run."""
    import selectors
    import signal

    _import_libraries()
    callers: dict[int, socket.socket] = {}
    ended, wake = socket.socketpair()  # a byte for every fork that ends
    wake.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno())
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as events:
        listener.bind(path)
        listener.listen()
        for waited in (listener, ended, sys.stdin):
            events.register(waited, selectors.EVENT_READ)
        os.write(1, READY)
        while sys.stdin not in (ready := [key.fileobj for key, _ in events.select()]):
            if ended in ready:
                ended.recv(4096)
                _answer(callers)
            if listener in ready:
                caller = listener.accept()[0]
                if pid := os.fork():
                    callers[pid] = caller
                    continue
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                return _read(caller)
    import shutil

    shutil.rmtree(os.path.dirname(path))
    raise SystemExit


def _import_libraries() -> None:
    """Import once what no fork shall import, look through, or clear up when it ends."""
    import gc
    import importlib
    import weakref

    gc.disable()
    for name in LIBRARIES:
        importlib.import_module(name)
    import numba
    from torch.distributed.elastic.rendezvous import dynamic_rendezvous
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    numba.njit(lambda: None)()  # the first call of all makes the compiler's tables,
    get_checkpoint_conversion_mapping("llama")  # and this one those of all architectures
    # torchrun looks through all modules for each name of an event that it logs.
    dynamic_rendezvous.get_method_name = lambda: "event"
    gc.freeze()
    gc.enable()
    for cleanup in list(weakref.finalize._registry):  # torch's tables of operators
        cleanup.atexit = False


def _answer(callers: dict[int, socket.socket]) -> None:
    """Tell the callers of forks that have ended how they did."""
    while callers:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        code = os.waitstatus_to_exitcode(status)
        with callers.pop(pid) as caller, suppress(OSError):  # a caller may have been killed
            caller.sendall(b"%d" % (code if code >= 0 else 128 - code))


def _read(caller: socket.socket) -> tuple[list[str], str, dict[str, str]]:
    """In a fork of the server: take over the caller's files; returns what it asks for."""
    begin, files, _, _ = socket.recv_fds(caller, 64, 3)
    size, _, said = begin.partition(b"\n")
    while len(said) < int(size):
        said += caller.recv(int(size) - len(said))
    for standard, file in enumerate(files):
        os.dup2(file, standard)
        os.close(file)
    caller.close()
    words, folder, environment = json.loads(said)
    return words, folder, environment


def _become(words: list[str], folder: str, environment: dict[str, str]) -> None:
    """Run a program, or a module, as if Python had been started with these words."""
    import runpy

    import torch

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    threads = words.index("--threads") + 1 if "--threads" in words else 0
    torch.set_num_threads(int(words[threads]) if threads else 1)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = words, os.path.dirname(os.path.realpath(words[0]))
        runpy.run_path(words[0], run_name="__main__")


def _finish(words: list[str], folder: str, environment: dict[str, str]) -> None:
    """`_become` and never return: to clear up all that was imported takes as long as the job."""
    import atexit

    code: object = 1
    try:
        _become(words, folder, environment)
        code = 0
    except SystemExit as leave:
        code = leave.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    atexit._run_exitfuncs()
    if isinstance(code, str):
        print(code, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _finish(*_serve(sys.argv[2]))
    else:
        sys.exit(_call(sys.argv[1], sys.argv[2:]))
