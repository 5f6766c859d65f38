"""Trainings that fit: smaller micro-batches when memory runs out, and what is refused at once."""

import pytest
import torch

from fusionchat.errors import UserError
from fusionchat.training import memory


@pytest.mark.parametrize(
    ("start", "fits", "tried"), [(8, 8, [8]), (8, 2, [8, 4, 2]), (6, 1, [6, 3, 1]), (5, 1, [5, 1])]
)
def test_micro_batches_are_halved_until_they_fit(start, fits, tried):
    seen = []

    def train(*, micro_batch):
        seen.append(micro_batch)
        if micro_batch > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return "trained"

    assert memory.fit(train, start) == "trained"
    assert seen == tried


def test_one_dialogue_that_does_not_fit_is_said_with_what_helps():
    def train(*, micro_batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with pytest.raises(UserError, match="not even one dialogue"):
        memory.fit(train, 2)


def test_another_error_ends_the_training():
    def train(*, micro_batch):
        raise RuntimeError("the mask has another shape")

    with pytest.raises(RuntimeError, match="another shape"):
        memory.fit(train, 8)


@pytest.mark.parametrize(
    ("optimizer", "fit", "deepspeed", "device", "processes", "reason"),
    [
        ("adamw", True, None, "cpu", 1, "one process on one GPU"),
        ("adamw", True, None, "cuda", 2, "one process on one GPU"),
        ("adamw_8bit", False, "zero2.json", "cuda", 1, "offload there"),
        ("adamw_8bit", False, None, "cuda", 1, "pip install bitsandbytes"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    monkeypatch, optimizer, fit, deepspeed, device, processes, reason
):
    monkeypatch.setattr(memory, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=reason):
        memory.check(optimizer, fit, deepspeed, device, processes)
