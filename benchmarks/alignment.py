"""Token alignment and transfer: ours beside straightforward code, on one core.

The baselines are our own code of the same definition: a double loop over all cells with one
rapidfuzz distance each, and a bare numba loop over a cost table that is given. Times are CPU
seconds of this process, all threads together, so that other work on the machine matters less.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1", RAYON_NUM_THREADS="1")
sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import numpy as np
from numba import njit
from rapidfuzz.distance import Levenshtein

from fusionchat.alignment import dtw, spans, vocabulary
from fusionchat.logits.store import DialogueLogits, LogitWriter
from fusionchat.models import token_table

SYLLABLES = "ba ce di fo gu ha je ki lo mu na pe qui ro su ta ve wi xo yu za st tr ing er".split()


def synthetic_text(words: int, rng: np.random.Generator) -> str:
    """Prose-like text: Zipf's law over a lexicon of made-up words."""
    sizes = rng.integers(1, 4, 4000)
    lexicon = ["".join(rng.choice(SYLLABLES, size)) for size in sizes]
    weights = 1.0 / (np.arange(len(lexicon)) + 2.7)
    ranks = rng.choice(len(lexicon), words, p=weights / weights.sum())
    return " ".join(lexicon[rank] + ("." if rng.random() < 0.08 else "") for rank in ranks)


def train_tokenizers(text: str, sizes: tuple[int, int]) -> dict[str, Any]:
    """A metaspace and a byte-level BPE tokenizer of the text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    special = ["<unk>", "<s>", "</s>"]
    made = {}
    for name, size, pre, decoder in (
        ("pivot", sizes[0], pre_tokenizers.Metaspace(), decoders.Metaspace()),
        (
            "source",
            sizes[1],
            pre_tokenizers.ByteLevel(add_prefix_space=False),
            decoders.ByteLevel(),
        ),
    ):
        made[name] = Tokenizer(models.BPE(unk_token="<unk>"))
        made[name].pre_tokenizer, made[name].decoder = pre, decoder
        trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False)
        made[name].train_from_iterator([text], trainer)
    return made


def straightforward(pivot: Sequence[str], source: Sequence[str]) -> list[list[int]]:
    """Dynamic time warping as one would write it: a distance for every cell."""
    total = [[0.0] * len(pivot) for _ in source]
    for i, b in enumerate(source):
        for j, a in enumerate(pivot):
            cost = Levenshtein.distance(a, b) * (0.1 if a in b or b in a else 1)
            if i and j:
                cost += min(total[i - 1][j], total[i][j - 1], total[i - 1][j - 1])
            elif i or j:
                cost += total[i - 1][j] if i else total[i][j - 1]
            total[i][j] = cost
    i, j = len(source) - 1, len(pivot) - 1
    partners: list[list[int]] = [[] for _ in pivot]
    while i >= 0 and j >= 0:
        partners[j].insert(0, i)
        options = [(i - 1, j - 1), (i - 1, j), (i, j - 1)]
        inside = [(a, b) for a, b in options if a >= 0 and b >= 0]
        i, j = min(inside, key=lambda at: total[at[0]][at[1]], default=(-1, -1))
    return partners


@njit
def bare_loop(costs: np.ndarray, source: np.ndarray, pivot: np.ndarray) -> np.ndarray:
    """The recurrence alone on a given cost table, with the whole matrix kept."""
    m, n = len(source), len(pivot)
    total = np.empty((m, n))
    for i in range(m):
        for j in range(n):
            best = 0.0
            if i > 0 and j > 0:
                best = min(total[i - 1, j], total[i, j - 1], total[i - 1, j - 1])
            elif i > 0:
                best = total[i - 1, j]
            elif j > 0:
                best = total[i, j - 1]
            total[i, j] = costs[source[i], pivot[j]] + best
    return total


def bare(pivot: Sequence[str], source: Sequence[str]) -> np.ndarray:
    """The same cost table, then the bare loop."""
    pivot_kinds, pivot_index = dtw.distinct(pivot)
    source_kinds, source_index = dtw.distinct(source)
    return bare_loop(dtw.cost_table(source_kinds, pivot_kinds), source_index, pivot_index)


def alternate(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each function, called in turn; the first call of each is not counted."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(repeats):
        for name, function in functions.items():
            began = time.process_time()
            function()
            times[name].append(time.process_time() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def record(
    name: str, ours: float, baseline: float, unit: str, goal: str, met: bool
) -> dict[str, Any]:
    ratio = baseline / ours if unit == "s" else ours / baseline
    return {
        "name": name,
        "ours": ours,
        "baseline": baseline,
        "ratio": ratio,
        "unit": unit,
        "goal": goal,
        "met": bool(met),
    }


def measure_alignment(quick: bool) -> list[dict[str, Any]]:
    """Alignment of one pair of sequences, from ids to alignment, everything counted."""
    rng = np.random.default_rng(1)
    text = synthetic_text(30_000, rng)
    made = train_tokenizers(text, (6000, 9000))
    tables = {
        name: token_table.from_content(json.loads(tok.to_str()), {}, name)
        for name, tok in made.items()
    }
    pivot, source = tables["pivot"], tables["source"]
    results = []
    for length in (128, 512, 2048) if quick else (128, 512, 1024, 2048):
        part = made["pivot"].decode(made["pivot"].encode(" " + text).ids[:length])
        ids = [np.array(made[n].encode(" " + part).ids, np.int32) for n in ("pivot", "source")]
        spellings = [pivot.stripped[i] for i in ids[0]], [source.stripped[i] for i in ids[1]]
        began = time.process_time()
        expected = straightforward(*spellings)
        slow = time.process_time() - began
        start, count = dtw.align(pivot, source, *ids)
        found = [list(range(a, a + c)) for a, c in zip(start, count, strict=True)]
        assert found == expected, "the alignments differ"
        fast = alternate(
            {
                "dtw": partial(dtw.align, pivot, source, *ids),
                "bare": partial(bare, *spellings),
                "spans": partial(spans.align, pivot, source, *ids),
            },
            3 if quick else 7,
        )
        results += alignment_records(length, slow, fast)
    return results


def alignment_records(length: int, slow: float, fast: dict[str, float]) -> list[dict[str, Any]]:
    """The ratios of one length; the goals are those of 2048 tokens."""
    pairs = [
        ("dtw", "straightforward", slow, ">= 100x at 2048", 1 / 100),
        ("dtw", "bare numba loop", fast["bare"], "within 1.3x at 2048", 1.3),
        ("spans", "dtw", fast["dtw"], ">= 20x at 2048", 1 / 20),
        ("spans", "straightforward", slow, ">= 3000x at 2048", 1 / 3000),
    ]
    return [
        record(
            f"{ours} / {other}, {length} tokens",
            fast[ours],
            baseline,
            "s",
            goal,
            length != 2048 or fast[ours] <= most * baseline,
        )
        for ours, other, baseline, goal, most in pairs
    ]


def write_store(
    path: Path, tok: Any, texts: Sequence[str], size: int, rng: np.random.Generator
) -> None:
    """A logit store of random top-10 distributions that know the token that stands there."""
    eos = tok.token_to_id("</s>")
    with LogitWriter(path, {"model": path.stem}) as writer:
        for index, text in enumerate(texts):
            ids = np.array([1, *tok.encode(" " + text).ids, eos], np.int32)
            n = len(ids) - 1
            top = rng.integers(3, size, (n, 10)).astype(np.int32)
            top[:, 0] = ids[1:]
            logs = -np.sort(rng.exponential(2.0, (n, 10)), axis=1) - 1.0
            span = np.array([[1, n]], np.int32)
            ce = -logs[:, 0]
            logs, ce = logs.astype(np.float16), ce.astype(np.float16)
            writer.write(DialogueLogits(f"d{index}", ids, span, top, logs, ce, 1.0, 0.3))


def measure_stage(quick: bool) -> list[dict[str, Any]]:
    """align_tokens, map_vocabulary and transfer_logits on dialogues of 600 response tokens."""
    import resource

    import align_tokens
    import map_vocabulary
    import transfer_logits

    rng = np.random.default_rng(2)
    text = synthetic_text(40_000, rng)
    made = train_tokenizers(text, (6000, 9000))
    words = text.split(" ")
    few_dialogues, dialogues = (300, 900) if quick else (400, 4000)  # more than a row group
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, tok in made.items():
            (root / name).mkdir()
            (root / name / "tokenizer.json").write_text(tok.to_str())
            names = {"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
            (root / name / "tokenizer_config.json").write_text(json.dumps(names))
        size = len(made["pivot"].encode(" ".join(words[:1000])).ids) / 1000
        length = int(598 / size)
        starts = rng.integers(0, len(words) - length, dialogues)
        texts = [" ".join(words[start : start + length]) for start in starts]
        few, many = texts[:few_dialogues], texts
        seconds, peaks = [], []
        for part in (few, few, many):  # the first compiles and loads
            for name, tok in made.items():
                write_store(root / f"{name}.parquet", tok, part, tok.get_vocab_size(), rng)
            models = ["--pivot-model", str(root / "pivot"), "--source-model", str(root / "source")]
            stores = ["--pivot-logits", str(root / "pivot.parquet")]
            stores += ["--source-logits", str(root / "source.parquet")]
            spans_file, vocabulary_file = str(root / "spans.parquet"), str(root / "v.parquet")
            began = time.process_time()
            align_tokens.main([*stores, *models, "--output", spans_file])
            map_vocabulary.main(["--spans", spans_file, *models, "--output", vocabulary_file])
            files = ["--spans", spans_file, "--vocabulary", vocabulary_file]
            transfer_logits.main([*stores, *models, *files, "--output", str(root / "out.parquet")])
            seconds.append(time.process_time() - began)
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    # A short run is start-up (reading tokenizers, tables); the difference is the work.
    rate = (len(many) - len(few)) / (seconds[2] - seconds[1])
    grown = peaks[2] / peaks[1]
    return [
        record("whole stage, dialogues a second", rate, 1000.0, "1/s", ">= 1000", rate >= 1000),
        record(
            f"whole stage, peak memory of {dialogues // few_dialogues}x the dialogues",
            peaks[2],
            peaks[1],
            "MiB",
            "within 1.2x",
            grown <= 1.2,
        ),
    ]


def measure_min_edit(quick: bool) -> list[dict[str, Any]]:
    """Minimum edit distance between two whole vocabularies without any token in common."""
    rng = np.random.default_rng(3)
    size = 4000 if quick else 32_000

    def pieces(count: int, mark: str) -> list[str]:
        sizes = rng.integers(1, 5, count)
        return [mark + "".join(rng.choice(SYLLABLES, n)) for n in sizes]

    first, second = pieces(size, " "), pieces(size, "")
    began = time.process_time()
    vocabulary.min_edit(first, second)
    seconds = time.process_time() - began
    goal = 60.0 * (size / 32_000) ** 2
    return [
        record(f"min_edit, {size} x {size}", seconds, goal, "s", "< 60 s at 32k", seconds < goal)
    ]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less than a minute")
    parser.add_argument("--json", type=Path, help="write the results here")
    args = parser.parse_args(argv)
    results = measure_alignment(args.quick) + measure_stage(args.quick)
    results += measure_min_edit(args.quick)
    print(f"{'':50}{'ours':>12}{'baseline':>12}{'ratio':>9}  goal")
    for row in results:
        print(
            f"{row['name']:50}{row['ours']:12.5g}{row['baseline']:12.5g}{row['ratio']:9.1f}  "
            f"{row['goal']} {'' if row['met'] else '(MISSED)'}"
        )
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
