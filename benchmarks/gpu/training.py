"""Full fine-tuning steps of a 7B Mistral shape on one GPU: with fusion against plain CLM.

Random float32 weights, bf16 autocast, fused AdamW on float32 (16 bytes a parameter), sequences of
2,048 tokens of which the last 80 % are the response. Model FLOPs count what the method needs, the
head only where its logits are used; recomputation by activation checkpointing does not count.
"""

import argparse
import gc
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "benchmarks")]

import torch  # noqa: E402
from fusion_training import examples  # noqa: E402
from transformers import MistralConfig, MistralForCausalLM  # noqa: E402

from fusionchat.training.collator import Collator, Example  # noqa: E402
from fusionchat.training.fused_forward import LossOptions, install  # noqa: E402

PEAK_FLOPS = 989e12  # dense bf16 of an H100 or H200
SHAPES = {
    "7b": {
        "vocab_size": 32_002,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "tiny": {
        "vocab_size": 500,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
}
GOALS = {False: 0.40, True: 0.35}  # by activation checkpointing


def model_flops(model: MistralForCausalLM, dialogues: list[Example], *, fusion: bool) -> float:
    """Forward and backward FLOPs of one step: 6 a weight and token, causal attention included."""
    config, length = model.config, len(dialogues[0].input_ids)
    head = config.vocab_size * config.hidden_size
    body = sum(p.numel() for p in model.parameters()) - 2 * head
    tokens = len(dialogues) * length
    logits = sum(len(one.responses) for one in dialogues) if fusion else tokens
    attention = 6 * config.num_hidden_layers * config.hidden_size * length
    return tokens * (6 * body + attention) + 6 * head * logits


def build(shape: str, device: str, *, fusion: bool, checkpointing: bool) -> MistralForCausalLM:
    """A model with random float32 weights on the device."""
    torch.manual_seed(0)
    with torch.device(device):
        model = MistralForCausalLM(MistralConfig(**SHAPES[shape], max_position_embeddings=4096))
    if fusion:
        install(model, LossOptions())
    if checkpointing:
        model.activation_checkpointing_enable()
    return model.train()


def measure(args: argparse.Namespace, *, fusion: bool, checkpointing: bool) -> dict[str, float]:
    """Tokens a second, share of the peak FLOPs, and peak memory of whole optimizer steps."""
    model = build(args.shape, args.device, fusion=fusion, checkpointing=checkpointing)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-6, fused=True)
    dialogues = examples(args.batch, args.length, model.config.vocab_size)
    batch = {name: t.to(args.device) for name, t in Collator(0, "packed")(dialogues).items()}
    items = len(batch["targets"])
    plain = {name: batch[name] for name in ("input_ids", "position_ids", "labels")}

    def step() -> None:
        with torch.autocast(args.device, torch.bfloat16):
            loss = model(**batch)["loss"] / items if fusion else model(**plain).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if args.device == "cuda":
            torch.cuda.synchronize()

    times = []
    for number in range(args.warmup + args.steps):
        start = time.perf_counter()
        step()
        if number >= args.warmup:
            times.append(time.perf_counter() - start)
    seconds = statistics.median(times)
    peak = torch.cuda.max_memory_allocated() / 2**30 if args.device == "cuda" else float("nan")
    flops = model_flops(model, dialogues, fusion=fusion)
    return {
        "tokens": args.batch * args.length / seconds,
        "mfu": flops / seconds / PEAK_FLOPS,
        "peak": peak,
    }


def report(
    checkpointing: bool, ours: dict[str, float], plain: dict[str, float]
) -> list[dict[str, Any]]:
    """The figures of one setting, fusion beside plain CLM."""
    name = "with" if checkpointing else "without"
    goals = {"tokens": None, "mfu": GOALS[checkpointing], "peak": None}
    units = {"tokens": "tokens/s", "mfu": "of 989 TFLOP/s", "peak": "GiB"}
    return [
        {
            "name": f"{what}, {name} activation checkpointing",
            "ours": ours[what],
            "baseline": plain[what],
            "ratio": ours[what] / plain[what],
            "unit": units[what],
            "goal": goal,
            "met": None if goal is None else ours[what] >= goal,
        }
        for what, goal in goals.items()
    ]


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--batch", type=int, default=1, help="sequences a step")
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="tiny, on the CPU: does it run")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    if args.quick:
        args.shape, args.device, args.length, args.steps, args.warmup = "tiny", "cpu", 64, 2, 1
    rows: list[dict[str, Any]] = []
    for checkpointing in (False, True):
        measured = []
        for fusion in (True, False):
            measured.append(measure(args, fusion=fusion, checkpointing=checkpointing))
            gc.collect()  # a model whose forward is its own method is a cycle, and fills the card
            if args.device == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
        rows += report(checkpointing, *measured)
    for line in rows:
        goal = "" if line["goal"] is None else f"goal >= {line['goal']}"
        figures = f"{line['ours']:12.4g}{line['baseline']:12.4g}{line['ratio']:8.3f}"
        print(f"{line['name']:44}{figures} {line['unit']} {goal}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
