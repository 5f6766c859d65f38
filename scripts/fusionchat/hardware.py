"""What a program runs on, in words."""

import os
import platform
import sys
from collections import Counter
from pathlib import Path

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
