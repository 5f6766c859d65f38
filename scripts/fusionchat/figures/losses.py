"""The curves of the training loss."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fusionchat.figures.style import PAGE, Look, legend_below, light_grid, new_figure
from fusionchat.readers.csv import read_csv
from fusionchat.scores.rows import Row, find_row

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PARTS = ("loss", "clm", "fusion")
Curve = tuple[np.ndarray, np.ndarray]


def read_losses(path: Path) -> dict[str, np.ndarray]:
    """The columns `step`, `loss`, `clm` and `fusion` [steps]; empty cells are NaN."""
    records = read_csv(path, _numbers, "a loss.csv of train_target")
    return {name: np.asarray([r[name] for r in records]) for name in records[0]}


def _numbers(record: dict[str, str]) -> dict[str, float]:
    names = ["step", "loss", *(name for name in PARTS[1:] if name in record)]
    return {name: float(record[name] or "nan") for name in names}


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Centred moving mean [steps] over at most `width` values; narrower at the ends."""
    half = width // 2
    return np.asarray([values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))])


def loss_curves(
    losses: Mapping[str, Mapping[str, np.ndarray]], rows: Sequence[Row], looks: Mapping[str, Look]
) -> "Figure":
    """The first target's gold-token loss; the others' minus it; the fusion loss of those taught.

    All targets see the same tokens in the same order, so that their own curves would lie on top of
    each other; what differs by training is the difference.
    """
    first, others = rows[0], rows[1:]
    taught = [row for row in rows if _has(losses[row.name], "fusion")]
    panels = [(f"gold tokens:\n{first.label}", {first.name: _part(losses[first.name], "clm")})]
    if others:
        apart = {row.name: _minus(losses[row.name], losses[first.name]) for row in others}
        panels.append((f"gold tokens, minus\n{first.label}", apart))
    if taught:
        fused = {row.name: _part(losses[row.name], "fusion") for row in taught}
        panels.append(("teacher's\ndistribution", fused))
    figure = new_figure(PAGE, 2.3 + 0.12 * len(rows))
    handles: dict[str, Artist] = {}
    for axes, (title, curves) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        for name, (steps, values) in curves.items():
            label = find_row(rows, name, "--loss").label
            handles[name] = _curve(axes, steps, values, looks[name], label)
        axes.set_title(title)
        axes.set_xlabel("step")
        light_grid(axes, "y")
        axes.margins(x=0.02)
    figure.axes[0].set_ylabel("loss, nats per token (moving mean)")
    legend_below(figure, [handles[row.name] for row in rows if row.name in handles])
    return figure


def _part(curve: Mapping[str, np.ndarray], part: str) -> Curve:
    part = part if _has(curve, part) else "loss"
    return curve["step"], smooth(curve[part], _width(curve))


def _minus(curve: Mapping[str, np.ndarray], first: Mapping[str, np.ndarray]) -> Curve:
    """The gold-token loss minus the first target's at the same steps."""
    steps, here, there = np.intersect1d(curve["step"], first["step"], return_indices=True)
    part, base = ("clm" if _has(one, "clm") else "loss" for one in (curve, first))
    return steps, smooth(curve[part][here] - first[base][there], _width(curve))


def _width(curve: Mapping[str, np.ndarray]) -> int:
    return max(1, len(curve["step"]) // 10)


def _curve(axes: "Axes", steps: np.ndarray, values: np.ndarray, look: Look, label: str) -> "Artist":
    (line,) = axes.plot(
        steps,
        values,
        color=look.colour,
        linestyle=look.line,
        marker=look.marker,
        markevery=(0.05, 0.2),
        markersize=3.5,
        linewidth=1.3,
        label=label,
    )
    return line


def loss_words(losses: Mapping[str, Mapping[str, np.ndarray]], rows: Sequence[Row]) -> str:
    """What the figure shows, in words."""
    parts = []
    for row in rows:
        _, values = _part(losses[row.name], "clm")
        parts.append(f"{row.label} {values[0]:.2f} to {values[-1]:.2f}")
    return "Gold-token loss at the first and the last steps: " + "; ".join(parts) + "."


def _has(curve: Mapping[str, np.ndarray], part: str) -> bool:
    return part in curve and bool(np.nan_to_num(curve[part]).any())
