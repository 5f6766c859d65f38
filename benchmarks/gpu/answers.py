"""Two-turn answers on one GPU: random bf16 weights in the shape of a 7B Mistral.

Ours in batches beside the library's `generate`, one question at a time, which gets fewer questions:
rates are compared. The limit by memory is that of reading all weights once for every token of a
batch at 3.35 TB/s (H100). Greedy answers of both part where two tokens nearly tie, since bf16
rounds otherwise in another batch. Random weights tie more often than trained ones: the rate is an
upper estimate.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "benchmarks")]

import torch  # noqa: E402
from answers import (  # noqa: E402
    Turns,
    make_model,
    make_tokenizer,
    one_at_a_time,
    ours,
    write_questions,
)

from fusionchat.models.tokenizer import load_tokenizer  # noqa: E402
from fusionchat.mt_bench.answering.dialogue_engine import AnswerOptions, DialogueEngine  # noqa: E402
from fusionchat.mt_bench.answering.local_engine import LocalEngine  # noqa: E402

BANDWIDTH = 3.35e12  # bytes a second of an H100's memory
SHAPES = {
    "7b": {
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
}


class LoadedEngine(LocalEngine):
    """The package's engine around a model that is there already."""

    def __init__(self, model: Any, tokenizer: Path, options: AnswerOptions) -> None:
        DialogueEngine.__init__(self, load_tokenizer(tokenizer), tokenizer, options)
        self.model = model.eval()


def timed(function: Callable[[], Turns], repeats: int, device: str) -> tuple[float, Turns]:
    """Median seconds of some calls, and what the last returned."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        result = function()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), result


def divergence(first: Turns, second: Turns) -> tuple[int, int]:
    """How many first turns of `second` part from those of `first`, and tokens up to there."""
    parted = tokens = 0
    for question, turns in second.items():
        pairs = list(zip(first[question][0].split(), turns[0].split(), strict=False))
        until = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
        parted += until < len(pairs)
        tokens += until
    return parted, tokens


def row(name: str, measured: float, baseline: float | None, unit: str) -> dict[str, Any]:
    """One line of the table, printed at once; nothing here has a goal."""
    ratio = measured / baseline if baseline else None
    given = "" if ratio is None else f"{baseline:12.4g}{ratio:8.2f}x"
    print(f"{name:44}{measured:12.4g}{given} {unit}", flush=True)
    line = {"name": name, "ours": measured, "baseline": baseline, "ratio": ratio, "unit": unit}
    return line | {"goal": None, "met": None}


def measure(args: argparse.Namespace, tokenizer: Path) -> list[dict[str, Any]]:
    """Tokens a second of greedy and sampled answers, divergence, and peak memory."""
    with torch.device(args.device):
        model = make_model(SHAPES[args.shape], torch.bfloat16)
    questions, rows = write_questions(args.questions), []
    for name, scale in (("greedy", 0.0), ("at the categories' temperatures", 1.0)):
        options = AnswerOptions(
            max_new_tokens=args.tokens,
            batch_size=args.batch_size,
            temperature_scale=scale,
        )
        engine = LoadedEngine(model, tokenizer, options)
        ours(engine, questions), one_at_a_time(engine, questions[:1])  # memory and kernels
        batched, answers = timed(partial(ours, engine, questions), args.repeats, args.device)
        few = questions[:: max(1, len(questions) // args.alone)]
        alone, single = timed(partial(one_at_a_time, engine, few), 1, args.device)
        rate = 2 * args.tokens * len(questions) / batched
        rows.append(row(f"answers, {name}", rate, 2 * args.tokens * len(few) / alone, "tokens/s"))
        if scale == 0.0:
            rows += [limit(model, args, batched), *parting(answers, single)]
    if args.device == "cuda":
        rows.append(row("peak memory", torch.cuda.max_memory_allocated() / 2**30, None, "GiB"))
    return rows


def limit(model: Any, args: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """The share of the memory's limit that the greedy answers reach."""
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    steps = 2 * args.tokens * -(-args.questions // args.batch_size)
    return row("share of the limit by memory", steps * weights / BANDWIDTH / seconds, None, "")


def parting(answers: Turns, single: Turns) -> list[dict[str, Any]]:
    """How often greedy first turns part from those of one question at a time."""
    parted, tokens = divergence(answers, single)
    return [
        row(f"greedy first turns that part, of {len(single)}", parted, None, ""),
        row("first divergences a 1,000 tokens", 1000 * parted / max(1, tokens), None, ""),
    ]


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--questions", type=int, default=80)
    parser.add_argument("--alone", type=int, default=8, help="questions one at a time")
    parser.add_argument("--tokens", type=int, default=256, help="of each turn")
    parser.add_argument("--batch-size", type=int, default=80)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="tiny, on the CPU: does it run")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    if args.quick:
        args.shape, args.device, args.questions, args.tokens = "tiny", "cpu", 16, 8
        args.alone, args.repeats = 2, 1
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no GPU is visible; --quick shows on the CPU that the program runs")
    with tempfile.TemporaryDirectory() as folder:
        make_tokenizer().save_pretrained(folder)
        rows = measure(args, Path(folder))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
