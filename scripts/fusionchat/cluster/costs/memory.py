"""Memory of trainings and forward passes, in bytes, from shape, batch, length and precision."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fusionchat.cluster.costs.sizes import BYTES, Size
from fusionchat.errors import UserError
from fusionchat.files import read_json_object
from fusionchat.schema import Config

GB = 1e9
PROCESS = 0.6 * GB  # Python with torch, on a CPU
CUDA_PROCESS = 3 * GB  # the same with CUDA's libraries and pinned memory
CONTEXT = 1.2 * GB  # of a GPU: CUDA's context and cuBLAS
SLACK = 1.1  # what an allocator keeps in pieces
CHUNK = {"cpu": 2**24, "cuda": 2**26}  # logits that the loss holds at a time
OPTIMIZER = {"adamw": 8.0, "adamw_8bit": 2.0}  # bytes a parameter


@dataclass(frozen=True)
class Training:
    """What the memory of a training depends on; `length` is that of the longest dialogue.

    `stage` is ZeRO's, 0 without DeepSpeed; `offloaded` keeps the optimizer in the host's memory.
    """

    size: Size
    device: str
    processes: int
    micro_batch: int
    length: int
    bf16: bool
    recomputed: bool  # gradient checkpointing
    optimizer: str = "adamw"
    stage: int = 0
    offloaded: bool = False

    @property
    def states(self) -> float:
        """Weights, gradients and optimizer of one process, on its device.

        ZeRO keeps a second copy of the float32 weights beside the optimizer. Without it, autocast
        holds a bfloat16 copy, and several processes hold the gradients once more to exchange them.
        """
        shared = self.processes
        optimizer = OPTIMIZER[self.optimizer] + (4.0 if self.stage else 0.0)
        weights = 4.0 / (shared if self.stage >= 3 else 1)
        gradients = 4.0 / (shared if self.stage >= 2 else 1)
        kept = 0.0 if self.offloaded else optimizer / (shared if self.stage else 1)
        extra = 0.0 if self.stage else 2.0 * self.bf16 + 4.0 * (shared > 1)
        return self.size.weights * (weights + gradients + kept + extra)

    @property
    def activations(self) -> float:
        """What the backward pass needs of the longest micro-batch, and the loss's logits.

        Of each token a layer keeps some 24 values of its width in float32 or, under autocast, 12
        of them and 20 in bfloat16; the projections of attention and of the feed-forward layer come
        on top. With checkpointing that is one layer; of the others only their inputs stay.
        """
        size = self.size
        half = 2 if self.bf16 else 4
        values = 4 * size.intermediate + 4 * size.key_values + 8 * size.hidden
        layer = 12 * 4 * size.hidden / 2 + half * values
        tokens = self.micro_batch * self.length
        layers = layer + 4 * size.hidden * size.layers if self.recomputed else layer * size.layers
        return tokens * layers + 3 * 4 * max(CHUNK[self.device], 32 * size.vocabulary)

    @property
    def gpu(self) -> float:
        """Memory of one GPU."""
        return CONTEXT + SLACK * (self.states + self.activations)

    @property
    def host(self) -> float:
        """Memory of the job on all its nodes together.

        On CPUs everything is there, and in the end the saved target is loaded once more. Beside
        GPUs, each process loads the weights before it passes them on, or, under ZeRO-3, the first.
        """
        saved = 8.0 * self.size.weights
        if self.device == "cpu":
            peak = max(self.activations, 0.5 * saved)
            return self.processes * (PROCESS + self.states) + SLACK * peak
        copies = 1 if self.stage >= 3 else self.processes
        moved = self.size.weights * (OPTIMIZER[self.optimizer] + 8.0 if self.offloaded else 0.0)
        return self.processes * CUDA_PROCESS + max(4.0 * self.size.weights * copies, saved) + moved


def training(config: Config, size: Size, length: int) -> Training:
    """The training that a configuration asks for."""
    wanted = config["training"]
    stage, offloaded = 0, False
    if "deepspeed" in wanted:
        zero = _zero(Path(wanted["deepspeed"]))
        stage, offloaded = zero.get("stage", 0), "offload_optimizer" in zero
    return Training(
        size,
        config["device"],
        max(1, wanted["gpu"]),
        wanted["micro_batch_size"],
        length,
        wanted["bf16"],
        wanted["gradient_checkpointing"],
        wanted["optimizer"],
        stage,
        offloaded,
    )


def _zero(path: Path) -> dict[str, Any]:
    """The section of a DeepSpeed file that says how weights are shared."""
    section = read_json_object(path).get("zero_optimization", {})
    if not isinstance(section, dict) or not isinstance(section.get("stage", 0), int):
        raise UserError(f"{path}: zero_optimization is no object with a `stage` of 0 to 3")
    return section


def remedies(asked: Training, limit: float) -> list[str]:
    """Keys that make a training fit into a GPU of so many bytes, the least change first."""
    fewer = [2**k for k in reversed(range(10)) if 2**k < asked.micro_batch]
    lean = replace(asked, recomputed=True)
    smallest = replace(lean, micro_batch=1)
    short = replace(smallest, length=asked.length // 2)
    ways = [(f"micro_batch_size: {n}", replace(asked, micro_batch=n)) for n in fewer]
    if not asked.recomputed:
        ways.append(("gradient_checkpointing: true", lean))
        ways.append(("gradient_checkpointing: true, micro_batch_size: 1", smallest))
    if not asked.stage:
        eight = replace(smallest, optimizer="adamw_8bit")
        ways.append(("micro_batch_size: 1, optimizer: adamw_8bit", eight))
    moved = replace(smallest, stage=2, offloaded=True)
    ways.append(("micro_batch_size: 1, deepspeed: configs/deepspeed/zero2_offload.json", moved))
    ways.append((f"micro_batch_size: 1, data.max_length: {short.length}", short))
    for count in (2, 4, 8, 16):
        if count > asked.processes:
            more = replace(smallest, processes=count, stage=3)
            ways.append((f"gpu: {count}, deepspeed: configs/deepspeed/zero3.json", more))
    return [f"{text} ({way.gpu / GB:.0f} GB)" for text, way in ways if way.gpu <= limit]


def forward(size: Size, dtype: str, tokens: float, devices: int, device: str) -> float:
    """A forward pass that only scores, on each of its devices: weights and a batch's tokens."""
    working = tokens * BYTES[dtype] * (6 * size.hidden + 3 * size.intermediate)
    logits = 3 * 4 * max(CHUNK[device], 32 * size.vocabulary)
    return BYTES[dtype] * size.weights / devices + working + logits


def generation(size: Size, dtype: str, batch: int, length: int, devices: int) -> float:
    """Answers of a batch, on each of the devices that share the layers: weights, keys, values."""
    cache = 2 * BYTES[dtype] * batch * length * size.layers * size.key_values
    logits = 3 * 4 * batch * size.vocabulary
    return (BYTES[dtype] * size.weights + cache) / devices + logits


def on_gpu(bytes_: float) -> float:
    """Memory of a GPU that holds so much."""
    return CONTEXT + SLACK * bytes_


def beside(device: str, bytes_: float, processes: int) -> float:
    """Memory of the host of a job without training: everything, or what passes through to GPUs."""
    if device == "cpu":
        return processes * PROCESS + SLACK * bytes_
    return processes * CUDA_PROCESS + min(bytes_, 16 * GB)
