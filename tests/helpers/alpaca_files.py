"""Files in AlpacaEval's formats, of numbers made here."""

import csv
import math
import random
from pathlib import Path

import numpy as np


def gamed(path: Path, count: int, seed: int = 5) -> Path:
    """Like df_gamed.csv: the baseline told to be verbose and concise, in numbers made here."""
    draw = np.random.default_rng(seed)
    difficulty = draw.normal(0, 1, count)
    rows = []
    for model, shift in (("verbose", -0.5), ("concise", 0.5)):
        lengths = draw.normal(shift, 1, count)
        scores = -1.6 * np.tanh(lengths) + 0.75 * difficulty
        preference = np.clip(1 / (1 + np.exp(-scores)) + draw.normal(0, 0.2, count), 0, 1)
        rows += [
            [model, round(float(p), 6), i, round(float(d), 6), round(float(hard), 6), False]
            for i, (p, d, hard) in enumerate(zip(preference, lengths, difficulty, strict=True))
        ]
    columns = ["model", "preference", "index", "std_delta_len", "instruction_difficulty"]
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([[*columns, "not_gamed_baseline"], *rows])
    return path


def excerpt(count: int, skill: float, seed: int) -> list[dict]:
    """Annotations in AlpacaEval's format, of numbers made here."""
    draw = random.Random(seed)
    records = []
    for i in range(count):
        ours, theirs = draw.randrange(20, 900), draw.randrange(20, 900)
        score = skill + (ours - theirs) / 300 + draw.gauss(0, 1)
        preference = 1.5 if i % 50 == 7 else 1 + 1 / (1 + math.exp(-score))
        records.append(
            {
                **{"instruction": f"i{i}", "index": i, "annotator": "j", "dataset": "d"},
                **{"output_1": "x" * theirs, "generator_1": "base"},
                **{"output_2": "y" * ours, "generator_2": f"m{seed}"},
                "preference": round(preference, 8),
            }
        )
    return records
