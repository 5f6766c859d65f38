"""A sweep over a numeric setting: scores and likelihood on a real axis."""

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fusionchat.figures.style import GREY, PAGE, light_grid, new_figure
from fusionchat.scores.benchmark import Benchmark
from fusionchat.scores.comparisons import Score, score, score_models
from fusionchat.scores.metrics import Column
from fusionchat.scores.rows import Row, find_row
from fusionchat.tables.table import fixed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOUR = "#1f4e79"
FARTHEST = 20.0  # from here on, the largest value over the smallest asks for a logarithmic axis
Bounded = tuple[float, float, float]


def value_argument(text: str) -> tuple[str, float]:
    """An argparse type: `NAME=NUMBER`, a model and its setting."""
    name, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not name or not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=NUMBER")
    return name, value


def sweep_figure(
    benchmark: Benchmark,
    likelihoods: Column,
    rows: Sequence[Row],
    values: Mapping[str, float],
    setting: str,
) -> "Figure":
    """Average (left) and, where it is known, NLL per byte (right) over the setting's values."""
    names = sorted(values, key=values.__getitem__)
    scores = score_models(benchmark, names)
    panels = [("average score", [_bounded(scores[name]["average"]) for name in names])]
    if all(name in likelihoods.models for name in names):
        nats = [_bounded(score(likelihoods, name)) for name in names]
        panels.append(("held-out nats per byte", nats))
    figure = new_figure(PAGE, 2.6)
    places = np.asarray([values[name] for name in names])
    for axes, (title, points) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        _draw(axes, places, np.asarray(points))
        axes.set_ylabel(title)
        axes.set_xlabel(setting)
        base = places[names.index(rows[0].name)]
        axes.axvline(base, color=GREY, linewidth=0.8, linestyle="--")
        axes.set_title(f"dashed: {find_row(rows, rows[0].name, '--row').label}", fontsize=7.5)
    return figure


def _bounded(one: Score) -> Bounded:
    return one.mean, one.low, one.high


def _draw(axes: "Axes", places: np.ndarray, points: np.ndarray) -> None:
    """A line through the values, each with its interval; equal settings stand side by side."""
    axes.plot(places, points[:, 0], "-o", color=COLOUR, linewidth=1.2, markersize=4)
    for place, (_, low, high) in zip(places, points, strict=True):
        if np.isfinite(low):
            axes.plot([place, place], [low, high], color=COLOUR, linewidth=1.2)
    if places.min() > 0 and places.max() / places.min() >= FARTHEST:
        axes.set_xscale("log")
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.minorticks_off()
    light_grid(axes, "y")


def sweep_words(benchmark: Benchmark, values: Mapping[str, float], setting: str) -> str:
    """What the figure shows, in words."""
    names = sorted(values, key=values.__getitem__)
    scores = score_models(benchmark, names, draws=1)
    parts = [f"{values[name]:g}: {fixed(scores[name]['average'].mean)}" for name in names]
    return f"Average score by {setting}: " + ", ".join(parts) + "."
