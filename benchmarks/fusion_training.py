"""Training side by side: plain CLM with the Trainer's own loss, ours, and dense targets.

One thread, float32, one model (hidden 1024, 8 layers) and the same batch for all three. A step is
forward and backward; the optimizer, equal for all, is left out. Seconds are processor time, which
for one thread is the time on an idle machine. Rounds alternate, figures are medians, and the
losses are compared in the same run. The dense-target way is our own program for
what the paper describes: whole distributions over the vocabulary in the collator and in the loss.
"""

import argparse
import ctypes
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402
import torch  # noqa: E402
from transformers import MistralConfig, MistralForCausalLM, PreTrainedModel  # noqa: E402

from fusionchat.training.collator import Collator, Example  # noqa: E402
from fusionchat.training.fused_forward import LossOptions, install  # noqa: E402

CLM_WEIGHT = 0.9
TOP_K = 10
RESPONSE_SHARE = 0.8
Step = Callable[[], float]


def examples(count: int, length: int, vocabulary: int) -> list[Example]:
    """Dialogues of random tokens whose last 80 % are the response."""
    rng = np.random.default_rng(0)
    responses = np.arange(int(length * (1 - RESPONSE_SHARE)), length)
    result = []
    for _ in range(count):
        ids = rng.integers(0, vocabulary - TOP_K, (len(responses), 1)) + np.arange(TOP_K)
        logs = np.log(rng.dirichlet(np.ones(TOP_K + 1), len(responses))[:, :TOP_K])
        tokens = rng.integers(0, vocabulary, length).astype(np.int32)
        result.append(Example(tokens, responses, ids.astype(np.int32), logs.astype(np.float16)))
    return result


def dense_by_loops(dialogues: Sequence[Example], vocabulary: int) -> torch.Tensor:
    """Targets bf16 [B, L, V], filled position by position."""
    length = max(len(one.input_ids) for one in dialogues)
    targets = torch.zeros(len(dialogues), length, vocabulary, dtype=torch.bfloat16)
    for number, one in enumerate(dialogues):
        assert one.top_ids is not None
        assert one.top_logprobs is not None
        for row, position in enumerate(one.responses):
            ids = torch.tensor(one.top_ids[row].tolist())
            logits = torch.tensor(one.top_logprobs[row].tolist())
            targets[number, position - 1, ids] = torch.softmax(logits, dim=0).bfloat16()
    return targets


def dense_vectorised(dialogues: Sequence[Example], vocabulary: int) -> torch.Tensor:
    """The same targets by one scatter."""
    length = max(len(one.input_ids) for one in dialogues)
    targets = torch.zeros(len(dialogues), length, vocabulary, dtype=torch.bfloat16)
    places = np.concatenate([one.responses - 1 + n * length for n, one in enumerate(dialogues)])
    ids = torch.from_numpy(np.concatenate([one.top_ids for one in dialogues]).astype(np.int64))
    logits = torch.from_numpy(np.concatenate([one.top_logprobs for one in dialogues])).float()
    rows = torch.from_numpy(places)[:, None]
    targets.view(-1, vocabulary)[rows, ids] = torch.softmax(logits, dim=1).bfloat16()
    return targets


def build_models(vocabulary: int, length: int) -> tuple[PreTrainedModel, PreTrainedModel]:
    """The plain model, and one with our forward pass on the same weights."""
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=vocabulary,
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=8,
        num_attention_heads=16,
        num_key_value_heads=4,
        max_position_embeddings=length,
    )
    plain = MistralForCausalLM(config)
    ours = MistralForCausalLM(config)
    ours.load_state_dict(plain.state_dict(keep_vars=True), assign=True)
    install(ours, LossOptions(CLM_WEIGHT))
    return plain, ours


def steps(vocabulary: int, dialogues: Sequence[Example]) -> tuple[dict[str, Step], PreTrainedModel]:
    """Forward and backward of each way, returning the loss; and the model with their gradients."""
    plain_model, our_model = build_models(vocabulary, len(dialogues[0].input_ids))
    batch = Collator(0)(dialogues)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    items = torch.tensor(len(batch["targets"]))

    def plain() -> float:
        loss = plain_model(**inputs, labels=batch["labels"], num_items_in_batch=items).loss
        loss.backward()
        return loss.item()

    def ours() -> float:
        loss = our_model(**batch)["loss"] / items
        loss.backward()
        return loss.item()

    def dense() -> float:
        targets = dense_vectorised(dialogues, vocabulary)
        outputs = plain_model(**inputs, labels=batch["labels"], num_items_in_batch=items)
        log_student = torch.log_softmax(outputs.logits, dim=-1)
        fusion = -(targets * log_student).sum() / items
        loss = CLM_WEIGHT * outputs.loss + (1 - CLM_WEIGHT) * fusion
        loss.backward()
        return loss.item()

    return {"plain": plain, "ours": ours, "dense": dense}, plain_model


def peak_mib(step: Step) -> float:
    """Peak memory of one step, gradients included, over the memory before it; in a fork."""
    reader, writer = os.pipe()
    if not os.fork():
        ctypes.CDLL(None).malloc_trim(0)  # memory that is free counts as free
        Path("/proc/self/clear_refs").write_text("5")
        before = memory_kib("VmRSS")
        step()
        os.write(writer, str((memory_kib("VmHWM") - before) / 1024).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        result = float(stream.read())
    os.wait()
    return result


def memory_kib(field: str) -> int:
    """A figure of this process's memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def seconds(function: Callable[[], object]) -> float:
    """Processor time of a call; a short one is repeated for 20 ms and averaged."""
    calls, start = 0, time.process_time()
    while calls == 0 or time.process_time() - start < 0.02:
        function()
        calls += 1
    return (time.process_time() - start) / calls


def alternate(functions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each function; the functions take turns."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(seconds(function))
    return {name: statistics.median(values) for name, values in times.items()}


def figure(
    name: str, ours: float, baseline: float, unit: str, goal: float | None
) -> dict[str, Any]:
    """A line of the report; the ratio is ours over the baseline, and the goal is its limit."""
    ratio = ours / baseline
    return {
        "name": name,
        "ours": ours,
        "baseline": baseline,
        "ratio": ratio,
        "unit": unit,
        "goal": goal,
        "met": None if goal is None else ratio <= goal,
    }


def measure_steps(vocabulary: int, batch: int, length: int, rounds: int) -> list[dict[str, Any]]:
    """Time and memory of a training step."""
    size = f"V={vocabulary // 1000}k {batch}x{length}"
    ways, model = steps(vocabulary, examples(batch, length, vocabulary))
    losses = {}
    for name, step in ways.items():
        losses[name] = step()
        model.zero_grad(set_to_none=True)
    assert abs(losses["ours"] - losses["dense"]) < 2e-3 * losses["dense"], losses
    timed = {
        name: lambda step=step: (model.zero_grad(set_to_none=True), step())
        for name, step in ways.items()
    }
    times = alternate(timed, rounds)
    model.zero_grad(set_to_none=True)
    peaks = {  # the allocator makes single ones spread by some percent
        name: statistics.median(peak_mib(step) for _ in range(rounds))
        for name, step in ways.items()
    }
    return [
        figure(f"step, plain CLM, {size}", times["ours"], times["plain"], "s", 1.05),
        figure(f"step, dense targets, {size}", times["ours"], times["dense"], "s", None),
        figure(f"peak, plain CLM, {size}", peaks["ours"], peaks["plain"], "MiB", 1.0),
        figure(f"peak, dense targets, {size}", peaks["ours"], peaks["dense"], "MiB", None),
    ]


def measure_collator(vocabulary: int, batch: int, length: int, rounds: int) -> list[dict[str, Any]]:
    """Time to make a batch."""
    size = f"V={vocabulary // 1000}k {batch}x{length}"
    dialogues = examples(batch, length, vocabulary)
    collator = Collator(0)
    assert torch.equal(
        dense_by_loops(dialogues, vocabulary), dense_vectorised(dialogues, vocabulary)
    )
    ways = {
        "ours": lambda: collator(dialogues),
        "loops": lambda: dense_by_loops(dialogues, vocabulary),
        "dense": lambda: dense_vectorised(dialogues, vocabulary),
    }
    times = alternate(ways, rounds)
    return [
        figure(f"collator, double loop, {size}", times["ours"], times["loops"], "s", 1 / 1000),
        figure(f"collator, vectorised dense, {size}", times["ours"], times["dense"], "s", 1 / 100),
    ]


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small batches, under a minute")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure_collator(32_000, 4, 512 if args.quick else 2048, 3 if args.quick else 5)
    batch, length, rounds = (1, 256, 1) if args.quick else (2, 512, 3)
    for vocabulary in (32_000,) if args.quick else (32_000, 152_000):
        rows += measure_steps(vocabulary, batch, length, rounds)
    print(f"{'':44}{'ours':>11}{'baseline':>11}{'ratio':>9}{'goal':>8}")
    for line in rows:
        goal = "" if line["goal"] is None else f"{line['goal']:.4g}"
        verdict = {True: "met", False: "missed", None: ""}[line["met"]]
        figures = f"{line['ours']:11.4g}{line['baseline']:11.4g}{line['ratio']:9.3g}"
        print(f"{line['name']:44}{figures}{goal:>8} {line['unit']} {verdict}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
