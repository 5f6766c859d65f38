"""Tests that need a CUDA device, which they use in forks alone."""

import os
from pathlib import Path

import pytest

from on_gpus import visible_gpus

os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # a process that looks through CUDA cannot fork


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies here, and skip it where no GPU is visible."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    missing = not (here and visible_gpus())
    for item in here:
        item.add_marker("gpu")
        if missing:
            item.add_marker(pytest.mark.skip(reason="no GPU is visible"))
