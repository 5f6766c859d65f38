"""Manifests say what a step ran on."""

import os
import sys
from types import SimpleNamespace

from fusionchat import hardware
from fusionchat.files import read_json, write_manifest


def test_manifest_names_the_cpu(tmp_path):
    write_manifest(tmp_path, "train_target", steps=3)
    facts = read_json(tmp_path / "manifest.json")
    assert facts["hardware"].startswith(f"{os.cpu_count()} cores of ")
    assert facts["steps"] == 3


def test_gpus_are_named_by_a_process_that_used_them(monkeypatch, tmp_path):
    names = ["NVIDIA A100", "NVIDIA A100", "NVIDIA L4"]
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: len(names),
        get_device_name=names.__getitem__,
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(hardware, "CPU_FACTS", tmp_path / "absent")
    assert hardware.hardware().startswith("2 x NVIDIA A100, 1 x NVIDIA L4, ")
    cuda.is_initialized = lambda: False
    assert "NVIDIA" not in hardware.hardware()
