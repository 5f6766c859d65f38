"""Logit dumps side by side: size and speed of the store, speed and memory of the forward.

Baselines are our own code for the same definition: the bare backbone on the same batches; and the
straightforward way, which pads everything to the maximum length, makes full logits and takes their
top-k. Both and ours run on one thread, each run in a fork of its own, in turn. Times are medians of
CPU seconds (on a quiet machine also the seconds on the clock), start-up does not count, and the
outputs are compared in the same run.
"""

import argparse
import copy
import json
import os
import pickle
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from fusionchat.dialogues.conversation import Encoded  # noqa: E402
from fusionchat.logits import dump  # noqa: E402
from fusionchat.logits.store import DialogueLogits, LogitWriter, read_logits  # noqa: E402
from fusionchat.models.causal_lm import CausalLM  # noqa: E402

K = 10
RESPONSE_SHARE = 0.4
FILLED = 0.36  # of the maximum length; the measured dumps of the released code have 743 of 2048
# Bytes of a position, padding included, in the released code's Arrow columns: float16 logits, int64
# indices and labels, int32 ids, a mask bit, and the offsets of two nested lists.
RELEASED = K * (2 + 8) + 2 * 4 + 8 + 4 + 1 / 8
Row = dict[str, Any]


def row(name: str, ours: float, baseline: float | None, unit: str, goal: float | None) -> Row:
    """A line of the table; the goal bounds ours / baseline, or ours where there is no baseline."""
    ratio = ours / baseline if baseline else None
    value = ours if ratio is None else ratio
    met = None if goal is None else value <= goal
    numbers = {"ours": ours, "baseline": baseline, "ratio": ratio}
    return {"name": name, **numbers, "unit": unit, "goal": goal, "met": met}


def in_fork(function: Callable[[], Any]) -> tuple[Any, float, float]:
    """Result, CPU seconds and additional peak memory (MiB) of a call in a fork."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
        before = resident("VmRSS")
        start = time.process_time()
        result = function()
        seconds = time.process_time() - start
        with os.fdopen(writer, "wb") as stream:
            pickle.dump((result, seconds, resident("VmHWM") - before), stream)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        content = stream.read()
    os.waitpid(child, 0)
    return pickle.loads(content)


def resident(field: str) -> float:
    """A field of /proc/self/status in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


def synthetic(count: int, max_length: int, vocab: int, seed: int = 0) -> list[Encoded]:
    """Dialogues of random tokens: one of `max_length`, the others FILLED of it in expectation."""
    rng = np.random.default_rng(seed)
    shares = rng.uniform(0.1, 2 * FILLED - 0.1, count)
    lengths = np.maximum(16, shares * max_length).astype(int)
    lengths[0] = max_length
    dialogues = []
    for length in lengths:
        response = int(length * RESPONSE_SHARE)
        spans = np.array([[length - response, response]], np.int32)
        dialogues.append(Encoded(rng.integers(0, vocab, length).astype(np.int32), spans))
    return dialogues


def build(vocab: int, hidden: int, layers: int) -> tuple[Any, CausalLM]:
    """A random Llama-like float32 network, and the same weights in two halves."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=max(1, hidden // 256),
    )
    network = LlamaForCausalLM(config).eval().requires_grad_(False)
    shared = {id(value): value for value in (*network.parameters(), *network.buffers())}
    return network, CausalLM(copy.deepcopy(network, shared))


@torch.inference_mode()
def straightforward(
    network: Any, dialogues: list[Encoded], max_length: int, batch: int
) -> list[Any]:
    """Top-k of all positions of everything padded to `max_length`; the response ones are kept."""
    kept = []
    for start in range(0, len(dialogues), batch):
        group = dialogues[start : start + batch]
        ids = torch.zeros(len(group), max_length, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, encoded in enumerate(group):
            ids[i, : len(encoded.input_ids)] = torch.from_numpy(encoded.input_ids)
            mask[i, : len(encoded.input_ids)] = 1
        top = torch.log_softmax(network(ids, attention_mask=mask).logits, -1).topk(K)
        for i, encoded in enumerate(group):
            first, length = encoded.spans[0]
            kept.append(top.values[i, first - 1 : first - 1 + length].numpy())
    return kept


@torch.inference_mode()
def bare(model: CausalLM, dialogues: list[Encoded], budget: int) -> None:
    """The backbone alone on our batches."""
    for group in dump.batches([len(e.input_ids) for e in dialogues], budget):
        model.hidden(dump.pad([dialogues[i] for i in group]))


def ours(model: CausalLM, dialogues: list[Encoded], budget: int) -> list[np.ndarray]:
    """Top-k log-probabilities of every dialogue."""
    scores = dict(dump.score(model, dialogues, K, budget))
    return [scores[i].top_logprobs for i in range(len(dialogues))]


def forward_rows(vocab: int, count: int, max_length: int, repeats: int, goals: bool) -> list[Row]:
    """Time and memory of a pass with hidden size 1024 and 24 layers."""
    network, model = build(vocab, 1024, 24)
    dialogues = synthetic(count, max_length, vocab)
    budget, batch = 2 * max_length, 2
    runs = {
        "ours": lambda: ours(model, dialogues, budget),
        "bare": lambda: bare(model, dialogues, budget),
        "straight": lambda: straightforward(network, dialogues, max_length, batch),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    peak, result = {}, {}
    for _ in range(repeats):
        for name, function in runs.items():
            result[name], time_taken, peak[name] = in_fork(function)
            seconds[name].append(time_taken)
    for mine, theirs in zip(result["ours"], result["straight"], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-3)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    filled = sum(len(encoded.input_ids) for encoded in dialogues) / (count * max_length)
    label = f"V={vocab}, {count} x {max_length}, {filled:.0%} real"
    mine = median["ours"]
    return [
        row(f"time / backbone alone, {label}", mine, median["bare"], "s", 1.15 if goals else None),
        row(f"time / straightforward, {label}", mine, median["straight"], "s", 0.5),
        row(f"peak memory / straightforward, {label}", peak["ours"], peak["straight"], "MiB", None),
    ]


def memory_rows(lengths: tuple[int, ...]) -> list[Row]:
    """Peak additional memory of one dialogue in a small network with a large vocabulary."""
    rows = []
    for vocab in (32_000, 152_000):
        network, model = build(vocab, 64, 2)
        for length in lengths:
            (dialogue,) = synthetic(1, length, vocab)
            _, _, mine = in_fork(partial(ours, model, [dialogue], 1))
            _, _, theirs = in_fork(partial(straightforward, network, [dialogue], length, 1))
            rows.append(row(f"peak memory, V={vocab}, L={length}", mine, theirs, "MiB", None))
    return rows


def store_rows(count: int, vocab: int = 32_000) -> list[Row]:
    """Bytes a response token of ids without any pattern, and the time to write and read them."""
    rng = np.random.default_rng(0)
    dialogues = synthetic(count, 2048, vocab)
    rows = []
    for i, encoded in enumerate(dialogues):
        n = int(encoded.spans[:, 1].sum())
        logits = rng.normal(scale=2.5, size=(n, 4 * K))  # random draws, the largest K of them
        values = np.sort(logits, axis=1)[:, : -K - 1 : -1]
        norm = np.log(np.exp(values).sum(1, keepdims=True) + rng.exponential(20, (n, 1)))
        ids = rng.integers(0, vocab, (n, K)).astype(np.int32)
        ce = rng.exponential(2.0, n).astype(np.float16)
        logprobs = (values - norm).astype(np.float16)
        rows.append(
            DialogueLogits(
                f"{i:016x}", encoded.input_ids, encoded.spans, ids, logprobs, ce, 2.0, 0.5
            )
        )
    tokens = sum(len(r.token_ce) for r in rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "store.parquet")
        for part in (rows[:1], rows):  # the first time is that of imports
            start = time.process_time()
            with LogitWriter(path, {}) as writer:
                for r in part:
                    writer.write(r)
            written = time.process_time() - start
        start = time.process_time()
        read_back = list(read_logits(path))
        read = time.process_time() - start
        size = path.stat().st_size
    assert all(np.array_equal(a.top_ids, b.top_ids) for a, b in zip(rows, read_back, strict=True))
    released = len(rows) * 2048 * RELEASED
    return [
        row("bytes a response token on disk", size / tokens, None, "B", 45.0),
        row("bytes / the released layout", size / tokens, released / tokens, "B", None),
        row("writing, a million response tokens", written / tokens * 1e6, None, "s", None),
        row("reading, a million response tokens", read / tokens * 1e6, None, "s", None),
    ]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less than a minute")
    parser.add_argument("--large", action="store_true", help="also a vocabulary of 152k")
    parser.add_argument("--json", type=Path, help="write the table here")
    return parser.parse_args()


def main() -> None:
    args = parse()
    torch.set_num_threads(1)
    rows = store_rows(64 if args.quick else 512)
    rows += memory_rows((512,) if args.quick else (512, 2048))
    if args.quick:
        rows += forward_rows(32_000, count=4, max_length=256, repeats=1, goals=True)
    else:
        rows += forward_rows(32_000, count=4, max_length=1024, repeats=3, goals=True)
    if args.large:
        rows += forward_rows(152_000, count=4, max_length=512, repeats=3, goals=False)
    show(rows)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


def show(rows: list[Row]) -> None:
    """The table: ours, baseline, ratio, goal and whether it is met."""
    for r in rows:
        baseline = "" if r["ratio"] is None else f"{r['baseline']:10.3g} {r['ratio']:8.3f}"
        goal = "" if r["goal"] is None else f"<= {r['goal']} {'met' if r['met'] else 'NOT MET'}"
        print(f"{r['name']:62} {r['ours']:10.3g} {baseline:19} {r['unit']:4} {goal}")


if __name__ == "__main__":
    main()
