"""The rates of this machine, measured in a minute on a model of the pivot's width."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionchat.cluster.costs.sizes import Size
from fusionchat.config import save_config
from fusionchat.errors import UserError
from fusionchat.hardware import hardware
from fusionchat.readers.yaml import read_yaml

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

LARGEST = {"cpu": 2e8, "cuda": 1.5e9}  # parameters of the model that is measured
SECONDS = 40.0  # for all measurements
TOKENS = {"cpu": 256, "cuda": 4096}  # of a batch


def calibrate(size: Size, device: str, threads: int, seconds: float, file: Path) -> None:
    """Measure scoring, training and generating, and keep the rates in `file`.

    On CPUs rates are those of one thread while `threads` work together.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--calibrate: torch sees no CUDA device; calibrate where the GPUs are")
    torch.set_num_threads(threads)
    model = _model(size, device)
    parameters = sum(p.numel() for p in model.parameters())
    share = 1 if device == "cuda" else threads
    forward, train, read = (
        _rate(step, device, seconds / 3)
        for step in (_scoring(model, device), _training(model, device), _reading(model, device))
    )
    tokens = TOKENS[device]
    weights = parameters * (2.0 if device == "cuda" else 4.0)
    memory = torch.cuda.mem_get_info()[1] / 1e9 if device == "cuda" else 0.0
    measured = {
        "forward": forward * 2 * parameters * tokens / share,
        "train": train * 6 * parameters * tokens / share,
        "bandwidth": read * weights / share,
        "memory": memory,
    }
    rates = {"hardware": hardware()} | {key: float(f"{n:.3g}") for key, n in measured.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    before = read_yaml(file) if file.is_file() else {}
    save_config(file, before | {device: rates})


def _model(size: Size, device: str) -> "LlamaForCausalLM":
    """A Llama of random weights with the pivot's widths and as many of its layers as are cheap."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    heads = max(1, size.hidden // 64)
    layer = size.hidden * (2 * size.hidden + 2 * size.key_values + 3 * size.intermediate)
    room = LARGEST[device] - size.hidden * size.vocabulary
    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=heads * 64 if size.hidden >= 64 else 64,
        intermediate_size=size.intermediate,
        num_hidden_layers=max(1, min(size.layers, int(room / layer))),
        num_attention_heads=heads,
        num_key_value_heads=heads,
        tie_word_embeddings=True,
    )
    with torch.device(device):
        return LlamaForCausalLM(config)


def _ids(model: "LlamaForCausalLM", device: str, tokens: int) -> Any:
    import torch

    return torch.randint(model.config.vocab_size, (max(1, tokens // 256), min(tokens, 256))).to(
        device
    )


def _scoring(model: "LlamaForCausalLM", device: str) -> Callable[[], None]:
    import torch

    ids = _ids(model, device, TOKENS[device])

    def step() -> None:
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            model(ids)

    return step


def _training(model: "LlamaForCausalLM", device: str) -> Callable[[], None]:
    import torch

    ids = _ids(model, device, TOKENS[device])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _reading(model: "LlamaForCausalLM", device: str) -> Callable[[], None]:
    """A step of generating, which reads all weights for one token."""
    import torch

    ids = _ids(model, device, 1)
    if device == "cuda":
        model = model.to(torch.bfloat16)  # the last measurement

    def step() -> None:
        with torch.no_grad():
            model(ids)

    return step


def _rate(step: Callable[[], None], device: str, seconds: float) -> float:
    """Steps a second, after a first one that does not count."""
    import torch

    def done() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    step()
    start = done()
    count = 0
    while count == 0 or done() - start < seconds:
        step()
        count += 1
    return count / (done() - start)
