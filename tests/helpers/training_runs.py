"""Trainings in children, which share the imports of their parent."""

import gc
import os
import shutil
import socket
import sys
import traceback
from pathlib import Path

import deepspeed  # noqa: F401 (imported once, for all children)
import numpy as np
import tiny_models
import torch
from forks import finish
from safetensors.torch import load_file, save_file

import train_target
from fusionchat import cli, files
from fusionchat.dialogues.dialogue import write_dialogues
from fusionchat.logits.store import DialogueLogits, LogitWriter
from fusionchat.training import trainer as training

ROOT = Path(__file__).resolve().parents[2]
STEPS = 6  # 2 epochs of 3 global batches


class Run:
    """The command line of a run in its own folder, and ways to execute it."""

    def __init__(self, data: Path, folder: Path, *options: str, fused: bool = True):
        self.output, self.checkpoints = folder / "target", folder / "checkpoints"
        teacher = f"--fused {data / 'fused.parquet'}"
        plain = f"--dialogues {data / 'dialogues.parquet'}"
        self.argv = (
            f"--pivot-model {data / 'pivot'} {teacher if fused else plain} --epochs 2"
            f" --global-batch-size 8 --micro-batch-size 4 --learning-rate 1e-3"
            f" --device cpu --no-bf16 --no-gradient-checkpointing"
            f" --output {self.output} --checkpoints {self.checkpoints} --save-steps 2"
        ).split() + list(options)

    def start(self, patch=None, **environment: str) -> int:
        """Fork a child that runs the program; `patch` is called in it first."""
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            os.environ.update(environment)
            log = (self.output.parent / f"log{os.getpid()}").open("w", buffering=1)
            sys.stdout = sys.stderr = log
            if patch:
                patch()
            cli.run(train_target.main, self.argv)
            code = 0
        except SystemExit as leave:
            code = leave.code
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def run(self, patch=None) -> int:
        """Exit code of a child, negative for the signal that killed it."""
        return finish(self.start(patch))

    def run_ranks(self, count: int, patch=None) -> list[int]:
        """Exit codes of `count` children that train together."""
        # ZeRO imports this, and all of torch's compiler with it; not every rank anew.
        import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401

        gc.freeze()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        pids = [
            self.start(
                patch,
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE=str(count),
                LOCAL_WORLD_SIZE=str(count),
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=port,
            )
            for rank in range(count)
        ]
        return [finish(pid) for pid in pids]

    def log(self) -> str:
        return "\n".join(path.read_text() for path in self.output.parent.glob("log*"))

    def curve(self) -> np.ndarray:
        """The loss curve, a field each column."""
        return np.genfromtxt(self.output / "loss.csv", delimiter=",", names=True)

    def weights(self) -> dict[str, torch.Tensor]:
        return load_file(self.output / "model.safetensors")


def bytes_of(folder: Path) -> dict[str, str]:
    return files.checksums(folder) | {"manifest": files.sha256(folder / "manifest.json")}


def record_gradients(folder: Path):
    """A patch that writes the norm of each step's gradient, before it is clipped."""

    def patch():
        original = training.FusionTrainer.log

        def log(self, logs, *args):
            if "loss" in logs and self.is_world_process_zero():
                with (folder / "norms").open("a") as stream:
                    stream.write(f"{float(logs['grad_norm'])}\n")
            original(self, logs, *args)

        training.FusionTrainer.log = log

    return patch


def gradients(run: Run) -> list[float]:
    return [float(line) for line in (run.output.parent / "norms").read_text().split()]


def assert_close(run: Run, reference: Run, tolerance: float):
    expected, found = reference.weights(), run.weights()
    assert expected.keys() == found.keys()
    for name, weight in found.items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=tolerance)


def zero_options(zero: str | None) -> tuple[str, ...]:
    return () if zero is None else ("--deepspeed", f"{ROOT}/configs/deepspeed/{zero}.json")


def strike(number: int, micro_step: int):
    """A patch that sends this process a signal at the beginning of a micro-step."""

    def patch():
        original, seen = training.FusionTrainer.training_step, []

        def training_step(self, *args, **kwargs):
            seen.append(1)
            if len(seen) == micro_step:
                os.kill(os.getpid(), number)
            return original(self, *args, **kwargs)

        training.FusionTrainer.training_step = training_step

    return patch


def make_data(folder: Path) -> Path:
    """A bf16 pivot, 22 dialogues, and a store of random teachers for them."""
    model = tiny_models.build("mistral").to(torch.bfloat16)
    model.save_pretrained(folder / "pivot")
    tokenizer = tiny_models.tokenizer()
    tokenizer.save_pretrained(folder / "pivot")
    rng = np.random.default_rng(0)
    items = tiny_models.dialogues(22)
    write_dialogues(folder / "dialogues.parquet", items)
    with LogitWriter(folder / "fused.parquet", {"model": "random"}) as writer:
        for item in items:
            encoded = tiny_models.renderer().encode(item)
            count = int(encoded.spans[:, 1].sum())
            ids = np.stack([rng.permutation(len(tokenizer))[:5] for _ in range(count)])
            logs = np.log(rng.dirichlet(np.ones(6), count)[:, :5]).astype(np.float16)
            row = (ids.astype(np.int32), logs, np.zeros(count, np.float16), 1.0, 0.5)
            writer.write(DialogueLogits(item.dialogue_id, encoded.input_ids, encoded.spans, *row))
    for damaged in ("headless", "truncated"):
        shutil.copytree(folder / "pivot", folder / damaged)
    weights = load_file(folder / "pivot" / "model.safetensors")
    weights.pop("lm_head.weight")
    save_file(weights, folder / "headless" / "model.safetensors", metadata={"format": "pt"})
    os.truncate(folder / "truncated" / "model.safetensors", 20_000)
    return folder


def make_reference(data: Path, folder: Path) -> Run:
    """An uninterrupted run on one process: 2 micro-batches of 4 a step."""
    run = Run(data, folder)
    assert run.run(record_gradients(folder)) == 0, run.log()
    return run
