"""What a model costs to serve: parameters, memory, and the speed of generation."""

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from fusionchat.errors import UserError
from fusionchat.files import read_json_object
from fusionchat.models.checkpoint import open_checkpoint
from fusionchat.scores.rows import Row
from fusionchat.tables.table import Table, fixed

BYTES = {"float32": 4, "bfloat16": 2}
WARM_UP = 2
RUNS = 3


@dataclass(frozen=True)
class Load:
    """The work that is timed: `batch` dialogues of `prompt` tokens, `tokens` more for each."""

    dtype: str
    device: str
    batch: int
    prompt: int
    tokens: int


@dataclass(frozen=True)
class Measured:
    """One model: parameters in all and used for a token, bytes of weights and cache, speed.

    `cache` is bytes of keys and values a token of context; `speed` is tokens a second over the
    whole batch; `peak` is the largest memory of the device in bytes, 0 where it is not measured.
    """

    parameters: int
    active: int
    weights: int
    cache: int
    speed: float
    peak: int


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor, from the headers of the safetensors files alone."""
    return {name: info.shape for name, info in open_checkpoint(folder).tensors.items()}


def count_parameters(folder: Path) -> tuple[int, int]:
    """Parameters in all, and those that one token uses: of a mixture, only the chosen experts."""
    config = read_json_object(folder / "config.json")
    total, active = 0, 0.0
    experts = config.get("num_local_experts") or config.get("num_experts") or 1
    share = (config.get("num_experts_per_tok") or 1) / experts
    for name, shape in tensor_shapes(folder).items():
        size = prod(shape)
        total += size
        active += size * (share if ".experts." in name else 1)
    return total, round(active)


def cache_bytes(config: Mapping[str, Any], dtype: str) -> int:
    """Bytes of keys and values that a token of context takes."""
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    pairs = config.get("num_key_value_heads") or heads
    return 2 * config["num_hidden_layers"] * pairs * width * BYTES[dtype]


def measure(folder: Path, load: Load) -> Measured:
    """Count, load and time one model."""
    total, active = count_parameters(folder)
    config = read_json_object(folder / "config.json")
    speed, peak = time_generation(folder, load)
    cache = cache_bytes(config, load.dtype)
    return Measured(total, active, total * BYTES[load.dtype], cache, speed, peak)


def check(folder: Path, load: Load) -> None:
    """Raise `UserError` for a model that cannot be measured, before any other is."""
    from fusionchat.models.loading import check_weights
    from fusionchat.models.model_config import load_config

    check_weights(folder)
    positions = getattr(load_config(folder).get_text_config(), "max_position_embeddings", None)
    if positions and load.prompt + load.tokens > positions:
        raise UserError(
            f"{folder}/config.json: {positions} positions (max_position_embeddings) are too few "
            f"for --prompt {load.prompt} and --tokens {load.tokens}"
        )


def time_generation(folder: Path, load: Load) -> tuple[float, int]:
    """Greedy tokens a second, best of three, and the GPUs' peak memory (0 on a CPU).

    A model that one GPU cannot hold is divided over the GPUs that are visible.
    """
    import torch

    from fusionchat.models.loading import load_model

    gpus = range(torch.cuda.device_count() if load.device == "cuda" else 0)
    if load.device == "cuda" and not gpus:
        raise UserError("--device: no CUDA device is visible; choose cpu")
    for gpu in gpus:
        torch.cuda.reset_peak_memory_stats(gpu)
    model = load_model(folder, load.dtype, "auto" if gpus else "cpu")
    prompt = torch.full((load.batch, load.prompt), 5, device=model.device)
    _generate(model, prompt, WARM_UP)
    seconds = min(_seconds(model, prompt, load.tokens) for _ in range(RUNS))
    peak = sum(torch.cuda.max_memory_allocated(gpu) for gpu in gpus)
    del model
    gc.collect()  # a divided model refers to itself: it must not stand in the next one's way
    return load.batch * load.tokens / seconds, peak


def _seconds(model: Any, prompt: Any, tokens: int) -> float:
    start = time.perf_counter()
    _generate(model, prompt, tokens)
    return time.perf_counter() - start


def _generate(model: Any, prompt: Any, tokens: int) -> None:
    """Exactly so many tokens for each row of the prompt, never ended early."""
    import torch

    with torch.inference_mode():
        model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
    if prompt.is_cuda:
        torch.cuda.synchronize()


def together(models: Sequence[Measured]) -> Measured:
    """All models at once, as an ensemble needs them: each must generate, one after another."""
    return Measured(
        parameters=sum(m.parameters for m in models),
        active=sum(m.active for m in models),
        weights=sum(m.weights for m in models),
        cache=sum(m.cache for m in models),
        speed=1 / sum(1 / m.speed for m in models),
        peak=sum(m.peak for m in models),
    )


def efficiency_table(
    fused: Row, sources: Sequence[Row], measured: Mapping[str, Measured], load: Load
) -> Table:
    """The sources, all of them together, the fused model, and the ratio of the last two."""
    everything = together([measured[row.name] for row in sources])
    ours = measured[fused.name]
    groups = {
        "Sources": [[row.label, *_cells(measured[row.name])] for row in sources],
        "Together": [["all sources", *_cells(everything)]],
        "Fused": [
            [fused.label, *_cells(ours)],
            ["relative to all sources", *_ratio_cells(ours, everything)],
        ],
    }
    columns = ["Model", "parameters", "used a token", "weights", "cache/token", "tokens/s", "peak"]
    notes = [
        f"Weights and cache in {load.dtype}. Speed on {load.device}: {load.batch} dialogues of "
        f"{load.prompt} prompt tokens, {load.tokens} greedy tokens each; tokens of different "
        "tokenizers differ in length. All sources together: each answers in turn, as an ensemble "
        "would have them do."
    ]
    return Table("Memory efficiency", columns, groups, notes)


def _cells(model: Measured) -> list[str]:
    return [
        amount(model.parameters),
        amount(model.active),
        amount(model.weights, "B"),
        amount(model.cache, "B"),
        f"{model.speed:,.0f}" if model.speed >= 10 else fixed(model.speed),
        amount(model.peak, "B") if model.peak else "–",
    ]


def _ratio_cells(ours: Measured, everything: Measured) -> list[str]:
    names = ("parameters", "active", "weights", "cache", "speed", "peak")
    pairs = [(getattr(ours, name), getattr(everything, name)) for name in names]
    return [f"{100 * a / b:.0f}%" if b else "–" for a, b in pairs]


def amount(value: float, unit: str = "") -> str:
    """A number with a decimal prefix: 7.24 G, 14.5 GB."""
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.0f} {unit}".strip()


def records(
    fused: Row, sources: Sequence[Row], measured: Mapping[str, Measured]
) -> list[dict[str, object]]:
    """One record a model and one for all sources together."""
    everything = together([measured[row.name] for row in sources])
    lines = [(row.name, measured[row.name]) for row in (*sources, fused)]
    lines.append(("all_sources", everything))
    return [{"model": name, **vars(model)} for name, model in lines]
