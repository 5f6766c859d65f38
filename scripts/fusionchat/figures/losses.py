"""The curves of the training loss."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fusionchat.errors import UserError
from fusionchat.figures.style import PAGE, Look, legend_below, light_grid, new_figure
from fusionchat.scores.rows import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = {"loss": "total", "clm": "language modelling (gold token)", "fusion": "fusion (teacher)"}


def read_losses(path: Path) -> dict[str, np.ndarray]:
    """The columns `step`, `loss`, `clm` and `fusion` [steps]; empty cells are NaN."""
    with path.open(newline="", encoding="utf-8") as stream:
        records = list(csv.DictReader(stream))
    if not records or "step" not in records[0] or "loss" not in records[0]:
        raise UserError(f"{path} has no column step or loss; it is not a loss.csv of train_target")
    names = [name for name in ("step", *PARTS) if name in records[0]]
    return {name: np.asarray([float(r[name] or "nan") for r in records]) for name in names}


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Centred moving mean [steps] over at most `width` values; narrower at the ends."""
    half = width // 2
    return np.asarray([values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))])


def loss_curves(
    losses: Mapping[str, Mapping[str, np.ndarray]], rows: Sequence[Row], looks: Mapping[str, Look]
) -> "Figure":
    """A panel for each part of the loss that some target has, one line a target."""
    shown = [part for part in PARTS if any(_has(found, part) for found in losses.values())]
    figure = new_figure(PAGE, 2.5)
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    handles = {}
    for axes, part in zip(panels, shown, strict=True):
        for row in rows:
            found, look = losses[row.name], looks[row.name]
            if not _has(found, part):
                continue
            steps, values = found["step"], found[part]
            axes.plot(steps, values, color=look.colour, linewidth=0.5, alpha=0.25)
            (handles[row.name],) = axes.plot(
                steps,
                smooth(values, max(1, len(values) // 20)),
                color=look.colour,
                linestyle=look.line,
                marker=look.marker,
                markevery=(0.05, 0.15),
                markersize=3.5,
                linewidth=1.3,
                label=row.label,
            )
        axes.set_title(PARTS[part])
        axes.set_xlabel("step")
        light_grid(axes, "y")
    panels[0].set_ylabel("loss, nats a token")
    legend_below(figure, [handles[row.name] for row in rows if row.name in handles])
    return figure


def _has(found: Mapping[str, np.ndarray], part: str) -> bool:
    return part in found and bool(np.nan_to_num(found[part]).any())
