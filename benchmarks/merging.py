"""Merging side by side: ours, mergekit, and a mere copy, on the same generated checkpoints.

Every run is a process of its own on one thread, start-up included. The rounds alternate, the
figures are medians, and the outputs are compared in the same run. Ours forces its output to the
disk before it ends; the copy does too, and mergekit's output is forced there at once after its run.
CPU seconds are printed beside, for machines that do other things meanwhile: those of all threads,
with the sha256 of every merged file (0.6 ns a byte), which mergekit and the copy do not take. By
the clock the ratios hang on a second core, which takes checksums while the first merges, and on
the disk: merges bring their files there all along, mergekit and the copy at their end. TIES is
mergekit's work in both; ours adds one pass for digests, rounding and layout.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from support.merging_models import make_models  # noqa: E402

from fusionchat.merging.tensor_blocks import kernel_values, widen  # noqa: E402
from fusionchat.models.checkpoint import open_checkpoint  # noqa: E402

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "PYTHONPATH": str(ROOT / "scripts"),
}
Command = list[str]


def measure(command: Command, output: Path) -> tuple[float, float, float]:
    """Seconds until `output` lies on the disk, CPU seconds, peak resident memory in GiB."""
    shutil.rmtree(output, ignore_errors=True)
    os.sync()
    start = time.perf_counter()
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(command, env={**os.environ, **ONE_THREAD}, stderr=messages)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        for path in output.glob("*.safetensors"):
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        seconds = time.perf_counter() - start
        messages.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{messages.read().decode()}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def commands(work: Path, models: list[Path]) -> dict[str, Command]:
    """What is measured, by name; each writes into `work / name`."""
    pivot, *targets = map(str, models)
    ours = ["--pivot", pivot, "--target", targets[0], "--target", targets[1], "--output"]
    scripts, python = ROOT / "scripts", sys.executable

    def program(name: str, folder: str, *options: str) -> Command:
        return [python, str(scripts / f"{name}.py"), *ours, str(work / folder), *options]

    def mergekit(
        method: str, base: str | None, each: dict[str, Any], shared: dict[str, Any]
    ) -> Command:
        """The same merge by mergekit-yaml."""
        config = {
            "merge_method": method,
            "models": [{"model": t, "parameters": each} for t in targets],
            "parameters": shared,
            "dtype": "float32",
            "out_dtype": "bfloat16",
            **({"base_model": base} if base else {}),
        }
        folder = "mergekit" if method == "linear" else f"mergekit_{method}"
        path = work / f"{folder}.yaml"
        path.write_text(json.dumps(config))  # JSON is YAML
        words = [python, "-m", "mergekit.scripts.run_yaml", str(path), str(work / folder)]
        return [*words, "--no-copy-tokenizer", "--quiet"]

    ties = {"weight": 1.0, "density": 0.5}
    return {
        "linear": program("merge_linear", "linear"),
        "mergekit": mergekit("linear", None, {"weight": 1.0}, {}),
        "varm": program("merge_varm", "varm"),
        "sce": program("merge_sce", "sce", "--select-topk", "0.1"),
        "mergekit_sce": mergekit("sce", pivot, {}, {"select_topk": 0.1}),
        "ties": program("merge_mergekit", "ties", "--method", "ties", "--density", "0.5"),
        "mergekit_ties": mergekit("ties", pivot, ties, {"normalize": True}),
        "copy": [
            *(python, str(ROOT / "benchmarks" / "support" / "copy_tensors.py"), str(work / "copy")),
            *(pivot, *targets),
        ],
    }


def read(folder: Path, name: str) -> np.ndarray:
    """A bfloat16 tensor, flat, as float64."""
    info = open_checkpoint(folder).tensors[name]
    raw = np.fromfile(info.path, np.uint8, info.nbytes, offset=info.offset)
    values = np.empty(info.elements, np.float32)
    widen(kernel_values(raw, info.dtype), values)
    return values.astype(np.float64)


def check_outputs(work: Path, models: list[Path]) -> None:
    """Ours equals mergekit's linear merge, and VaRM the plain formula in float64."""
    names = list(open_checkpoint(models[0]).tensors)
    for name in names[:: max(1, len(names) // 12)]:
        linear, other = read(work / "linear", name), read(work / "mergekit", name)
        pivot, *targets = (read(model, name) for model in models)
        # mergekit rounds to float32 and then to bfloat16, ours once
        assert np.mean(linear != other) < 1e-3, f"{name}: linear differs from mergekit's"
        changes = [np.mean((target - pivot) ** 2) for target in targets]
        weights = np.array(changes) / sum(changes)
        expected = sum(w * target for w, target in zip(weights, targets, strict=True))
        error = np.abs(read(work / "varm", name) - expected)
        assert (error <= 2.0**-8 * np.abs(expected)).all(), f"{name}: VaRM is not the formula's"
        assert np.array_equal(read(work / "copy", name), pivot)
        assert np.array_equal(read(work / "ties", name), read(work / "mergekit_ties", name))


def memory_goal(models: list[Path]) -> float:
    """(targets + 2) largest tensors in float32 + 1 GiB, in GiB."""
    largest = max(info.elements for info in open_checkpoint(models[0]).tensors.values())
    return (len(models) + 1) * 4 * largest / 2**30 + 1


def rows(
    seconds: dict[str, list[float]],
    worked: dict[str, list[float]],
    peaks: dict[str, list[float]],
    memory: float,
    quick: bool,
) -> list[dict[str, Any]]:
    """The benchmark's results in the common format; times have no goal where start-up rules."""
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    cpu = {name: statistics.median(values) for name, values in worked.items()}
    pairs = [
        *(("linear", "mergekit", 0.2), ("varm", "linear", 1.25), ("varm", "copy", 1.1)),
        *(("sce", "mergekit_sce", 0.3), ("ties", "mergekit_ties", None)),
    ]
    result = [
        row(
            f"{ours} against {baseline}",
            middle[ours],
            middle[baseline],
            "s",
            None if quick else goal,
        )
        | {"cpu_ratio": round(cpu[ours] / cpu[baseline], 3)}
        for ours, baseline, goal in pairs
    ]
    for name in ("linear", "varm"):
        result.append(
            row(f"{name} peak memory against allowance", max(peaks[name]), memory, "GiB", 1.0)
        )
    return result


def row(name: str, ours: float, baseline: float, unit: str, goal: float | None) -> dict[str, Any]:
    """One line of the table."""
    ratio = ours / baseline
    figures = {"ours": ours, "baseline": baseline, "ratio": ratio}
    rounded = {key: round(value, 3) for key, value in figures.items()}
    met = None if goal is None else ratio <= goal
    return {"name": name, **rounded, "unit": unit, "goal": goal, "met": met}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small model, one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the models go (9 GB without --quick)")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rounds = 1 if args.quick else args.rounds
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        work = Path(name)
        models = make_models(work / "models", "quick" if args.quick else "1b")
        seconds: dict[str, list[float]] = {}
        work_seconds: dict[str, list[float]] = {}
        peaks: dict[str, list[float]] = {}
        programs = commands(work, models)
        measure(programs["varm"], work / "varm")  # compiles once per installation, not per merge
        measure(programs["linear"], work / "linear")
        for _ in range(rounds):
            for program, command in programs.items():
                took, worked, peak = measure(command, work / program)
                note = f"{program}: {took:.1f} s, {worked:.1f} s of CPU"
                print(note, file=sys.stderr, flush=True)
                seconds.setdefault(program, []).append(took)
                work_seconds.setdefault(program, []).append(worked)
                peaks.setdefault(program, []).append(peak)
        check_outputs(work, models)
        results = rows(seconds, work_seconds, peaks, memory_goal(models), args.quick)
    for program, values in seconds.items():
        times = " ".join(f"{value:7.2f}" for value in values)
        cpu = statistics.median(work_seconds[program])
        print(f"{program:<13} {times} s, {cpu:.2f} s of CPU, {max(peaks[program]):.2f} GiB")
    for line in results:
        met = {None: "for the full size only", True: "met", False: "NOT met"}[line["met"]]
        print(
            f"{line['name']:<45} {line['ours']:8.3f} / {line['baseline']:8.3f} {line['unit']}"
            f" = {line['ratio']:.2f} (goal <= {line['goal']}: {met})"
            + (f", by CPU seconds {line['cpu_ratio']:.2f}" if "cpu_ratio" in line else "")
        )
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
