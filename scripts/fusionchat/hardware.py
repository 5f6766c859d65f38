"""What a program runs on, in words, and a place for what numba compiles for it."""

import atexit
import os
import platform
import shutil
import socket
import sys
import tempfile
from collections import Counter
from pathlib import Path

from fusionchat.errors import UserError

CPU_FACTS = Path("/proc/cpuinfo")


def hardware() -> str:
    """The GPUs that this process used, if any, and its CPU: `8 x NVIDIA A100, 64 cores of ...`."""
    cpu = f"{os.cpu_count()} cores of {_cpu_name()}"
    return ", ".join([*(f"{n} x {name}" for name, n in _gpus().items()), cpu])


def _gpus() -> Counter[str]:
    """Names and numbers of the GPUs; a program that never started CUDA used none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return Counter()
    return Counter(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))


def _cpu_name() -> str:
    """The processor's name where the system tells it, else its architecture."""
    try:
        lines = CPU_FACTS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.machine())


def _user_cache() -> Path:
    """Where programs keep what they can make again."""
    caches = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser(caches))


def _writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def place_user_cache(folder: Path) -> None:
    """Use another folder, also for this process's children, where home cannot be written."""
    if not _writable(_user_cache()):
        os.environ["XDG_CACHE_HOME"] = str(folder.absolute())


def refuse_read_only(folder: Path) -> None:
    """End a snakemake in one line that cannot keep its records in `folder`."""
    if not _writable(folder):
        raise SystemExit(
            f"error: {folder.absolute()} cannot be written, where Snakemake keeps its records; "
            "work in a clone of your own"
        )


def place_numba_cache(folder: Path) -> None:
    """Give numba a folder for as long as the process lasts where it can keep nothing it compiles.

    It would refuse to compile. Its places are `folder`, that of the modules, and the user's cache;
    NUMBA_CACHE_DIR names one that is kept.
    """
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    if not (_writable(folder / "__pycache__") or _writable(_user_cache())):
        place = os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="fusionchat-numba-")
        atexit.register(shutil.rmtree, place, ignore_errors=True)


def check_gpus(visible: int, processes: int) -> None:
    """Refuse to start where the processes of this node would have to share GPUs."""
    if visible < processes:
        raise UserError(
            f"--device cuda: {socket.gethostname()} shows {visible} GPUs to {processes} processes; "
            "each node needs training.gpu / training.nodes of them"
        )
