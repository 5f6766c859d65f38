"""Checkpoints that can be trusted: keyed by what defines the run, complete by their manifest."""

import hashlib
import json
import os
import shutil
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from fusionchat.files import MANIFEST, read_json, write_json


def run_key(facts: dict[str, Any]) -> str:
    """16 hexadecimal digits that change whenever something that defines the run changes."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def seal(checkpoint: Path) -> None:
    """Flush a checkpoint to disk and write its manifest: every file with its size.

    Without this manifest, or with another size, a checkpoint does not count.
    """
    sizes = {}
    for file in sorted(p for p in checkpoint.rglob("*") if p.is_file() and p.name != MANIFEST):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
        sizes[str(file.relative_to(checkpoint))] = file.stat().st_size
    write_json(checkpoint / MANIFEST, {"sizes": sizes})


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint's manifest is there and every file has the size it names."""
    if not (checkpoint / MANIFEST).is_file():
        return False
    sizes = read_json(checkpoint / MANIFEST)["sizes"]
    return all(
        (checkpoint / name).is_file() and (checkpoint / name).stat().st_size == size
        for name, size in sizes.items()
    )


def latest_complete(folder: Path) -> Path | None:
    """The complete checkpoint of the highest step, or None."""
    checkpoints = [path for path in folder.glob("checkpoint-*") if path.name[11:].isdigit()]
    for checkpoint in sorted(checkpoints, key=lambda path: int(path.name[11:]), reverse=True):
        if is_complete(checkpoint):
            return checkpoint
    return None


def remove_incomplete(folder: Path) -> None:
    """Delete what a kill in the middle of saving left behind, so that it never mixes with new."""
    for checkpoint in folder.glob("checkpoint-*"):
        if not is_complete(checkpoint):
            shutil.rmtree(checkpoint, ignore_errors=True)


def agreed_checkpoint(folder: Path) -> Path | None:
    """`latest_complete` as the first process sees it, told to all; call it on every process."""
    latest = [latest_complete(folder)]
    return broadcast_object_list(latest)[0]


class StopOnSignal(TrainerCallback):
    """On SIGTERM, save a checkpoint after the running step and stop, on all ranks together.

    The Trainer's own just-in-time checkpoint decides on each process alone, so that ranks can
    part at different steps and hang, and it saves before the step's loss is logged, so that the
    resumed loss curve lacks a row. The Trainer then returns as if it had finished: compare
    `global_step` with `max_steps`.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Listen for SIGTERM while the training runs."""
        self._previous = signal.signal(signal.SIGTERM, self._request)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Ask for a checkpoint and the end when any rank has been told to stop."""
        if _any_rank(self.requested, args.device):
            control.should_save = True
            control.should_training_stop = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Give SIGTERM its former meaning back."""
        signal.signal(signal.SIGTERM, self._previous)


def _any_rank(flag: bool, device: torch.device) -> bool:
    """Whether `flag` is true on any process."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return flag
    votes = torch.tensor(int(flag), device=device)
    torch.distributed.all_reduce(votes, op=torch.distributed.ReduceOp.MAX)
    return bool(votes.item())
