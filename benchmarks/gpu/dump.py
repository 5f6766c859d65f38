"""Speed of a dump on one GPU: random weights in the shape of a 7B Mistral and a 10.7B Llama, bf16.

Model FLOPs count real tokens only (no padding), causal attention once, and the head at response
positions; they are compared with 989 TFLOP/s, the dense bfloat16 peak of an H100 or H200.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "benchmarks")]

import torch  # noqa: E402
from dump import Row, row, show, synthetic  # noqa: E402

from fusionchat.dialogues.conversation import Encoded  # noqa: E402
from fusionchat.logits import dump as forward  # noqa: E402
from fusionchat.models.causal_lm import CausalLM  # noqa: E402

PEAK_FLOPS = 989e12
SIZE_7B = {
    "vocab_size": 32_002,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
TINY = {**SIZE_7B, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
TINY |= {"num_attention_heads": 4, "num_key_value_heads": 2}


def shapes(tiny: bool) -> dict[str, Any]:
    """Configurations by name; tiny ones only show that the program runs."""
    from transformers import LlamaConfig, MistralConfig

    if tiny:
        return {"tiny Mistral": MistralConfig(**TINY), "tiny Llama": LlamaConfig(**TINY)}
    deep = {**SIZE_7B, "num_hidden_layers": 48}
    return {"Mistral 7B": MistralConfig(**SIZE_7B), "Llama 10.7B": LlamaConfig(**deep)}


def build(config: Any, device: str) -> CausalLM:
    """Random bfloat16 weights, made on the device itself."""
    from transformers import AutoModelForCausalLM

    with torch.device(device):
        return CausalLM(AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16))


def model_flops(config: Any, parameters: int, dialogues: list[Encoded]) -> float:
    """Floating point operations that the result needs."""
    total = 0.0
    for encoded in dialogues:
        length, responses = len(encoded.input_ids), int(encoded.spans[:, 1].sum())
        attention = 2 * config.hidden_size * length * length * config.num_hidden_layers
        total += 2 * parameters * length + attention
        total += 2 * config.vocab_size * config.hidden_size * responses
    return total


def measure(name: str, config: Any, device: str, budget: int, count: int) -> list[Row]:
    """Tokens a second, share of the peak and memory of one shape."""
    model = build(config, device)
    embedding = model.backbone.get_input_embeddings().weight.numel()
    parameters = sum(p.numel() for p in model.backbone.parameters()) - embedding
    dialogues = synthetic(count, 2048, config.vocab_size)
    tokens = sum(len(encoded.input_ids) for encoded in dialogues)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        for _scores in forward.score(model, dialogues, 10, budget):
            pass
        seconds.append(time.perf_counter() - start)
    taken = statistics.median(seconds[1:])  # the first pass is that of compiling and caching
    ideal = model_flops(config, parameters, dialogues) / PEAK_FLOPS
    rows = [
        row(f"{name}: time / time at 989 TFLOP/s", taken, ideal, "s", 2.0),
        row(f"{name}: model FLOPs over 989 TFLOP/s", ideal / taken, None, "", None),
        row(f"{name}: tokens a second", tokens / taken, None, "1/s", None),
    ]
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**30
        rows.append(row(f"{name}: peak memory", peak, None, "GiB", None))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less than a minute")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes on the CPU")
    parser.add_argument("--token-budget", type=int, default=32_768)
    parser.add_argument("--json", type=Path, help="write the table here")
    args = parser.parse_args()
    device = "cpu" if args.tiny else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no GPU is visible; --tiny shows on the CPU that the program runs")
    count = 8 if args.tiny else 128 if args.quick else 512
    rows = []
    for name, config in shapes(args.tiny).items():
        rows += measure(name, config, device, args.token_budget, count)
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    show(rows)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
