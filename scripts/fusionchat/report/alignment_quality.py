"""How well a source's tokens and distributions arrive in the pivot's vocabulary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fusionchat.report.rows import Row
from fusionchat.report.style import PAGE, Look, legend_below, light_grid, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("one to one", "one source to several pivot", "several source to one pivot", "none")
SHADES = ("#454545", "#7d7d7d", "#a8a8a8", "#e3e3e3")
HATCHES = ("", "////", "....", "")


@dataclass(frozen=True)
class Quality:
    """Shares of the pivot's response tokens by kind [4], and the mass that arrived [D].

    `mass` is a dialogue's mean over its response positions of the probability that the stored
    entries hold after the transfer.
    """

    kinds: np.ndarray
    mass: np.ndarray


def quality(spans: Sequence[Path], aligned: Sequence[Path]) -> Quality:
    """Count the kinds of alignment and the mass kept over all shards of one source."""
    counts = np.zeros(len(KINDS))
    lengths, masses = _masses(aligned)
    for path in spans:
        counts += _count_kinds(path, lengths)
    return Quality(counts / max(counts.sum(), 1.0), np.asarray(masses))


def _count_kinds(path: Path, lengths: Mapping[str, int]) -> np.ndarray:
    import pyarrow.parquet as pq

    counts = np.zeros(len(KINDS))
    table = pq.read_table(path, columns=["dialogue_id", "identity", "start", "count"])
    for record in table.to_pylist():
        if record["dialogue_id"] is None:
            continue
        if record["identity"]:
            counts[0] += lengths.get(record["dialogue_id"], 0)
        else:
            counts += kinds(np.asarray(record["start"]), np.asarray(record["count"]))
    return counts


def kinds(start: np.ndarray, count: np.ndarray) -> np.ndarray:
    """How many of a dialogue's pivot tokens align in each way of `KINDS` [4].

    `start`, `count` [N]: token i belongs to the source tokens start[i] : start[i] + count[i].
    """
    present = count > 0
    ranges = np.stack([start, count], axis=1)[present]
    _, inverse, repeats = np.unique(ranges, axis=0, return_inverse=True, return_counts=True)
    shared = repeats[inverse.reshape(-1)] > 1
    several = ~shared & (count[present] > 1)
    single = len(ranges) - shared.sum() - several.sum()
    return np.asarray([single, shared.sum(), several.sum(), (~present).sum()], dtype=float)


def _masses(paths: Sequence[Path]) -> tuple[dict[str, int], list[float]]:
    """Response tokens of each dialogue, and each usable dialogue's mean mass."""
    from fusionchat.logits.store import read_logits

    lengths, masses = {}, []
    for path in paths:
        for row in read_logits(path):
            lengths[row.dialogue_id] = len(row.top_logprobs)
            if np.isfinite(row.ce) and len(row.top_logprobs):
                total = np.exp(row.top_logprobs.astype(np.float64)).sum(axis=1)
                masses.append(float(total.mean()))
    return lengths, masses


def records(found: Mapping[str, Quality]) -> list[dict[str, object]]:
    """The numbers of the figure, one record a source."""
    return [
        {
            "source": name,
            **{kind: float(share) for kind, share in zip(KINDS, result.kinds, strict=True)},
            "mean mass": float(result.mass.mean()) if len(result.mass) else float("nan"),
            "dialogues": len(result.mass),
        }
        for name, result in found.items()
    ]


def alignment_figure(
    found: Mapping[str, Quality], sources: Sequence[Row], looks: Mapping[str, Look]
) -> "Figure":
    """Left: kinds of token alignment. Right: share of dialogues that keep at least so much mass."""
    figure = new_figure(PAGE, 2.0 + 0.2 * len(sources))
    left, right = figure.subplots(1, 2)
    handles = {}
    for place, row in enumerate(sources):
        start = 0.0
        for index, share in enumerate(found[row.name].kinds):
            style = {"color": SHADES[index], "hatch": HATCHES[index], "edgecolor": "white"}
            bar = left.barh(place, share, 0.6, left=start, label=KINDS[index], **style)
            handles.setdefault(KINDS[index], bar)
            start += share
        mass, look = np.sort(found[row.name].mass), looks[row.name]
        if len(mass):
            kept = 1 - np.arange(len(mass)) / len(mass)
            right.step(mass, kept, color=look.colour, linestyle=look.line, label=row.label)
    left.set_yticks(range(len(sources)), [row.label for row in sources])
    left.set_ylim(len(sources) - 0.5, -0.5)
    left.set_xticks([0, 0.5, 1], ["0", "50%", "100%"])
    left.set_xlabel("pivot's response tokens, by alignment")
    left.tick_params(axis="y", length=0)
    right.set_xlabel("mean probability mass that arrives, at least")
    right.set_ylabel("share of dialogues")
    right.set_ylim(0, 1.02)
    right.legend(loc="lower left")
    light_grid(right, "both")
    legend_below(figure, list(handles.values()))
    return figure
