"""Paired differences with intervals, a line a model and a colour and mark for each reference."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fusionchat.figures.style import GREY, PAGE, legend_below, light_grid, new_figure, row_places
from fusionchat.scores.comparisons import compare_pairs
from fusionchat.scores.metrics import Column
from fusionchat.scores.rows import Row
from fusionchat.tables.table import fixed

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1f4e79", "#b3460b", "#5b2a86", "#0b6e4f")
MARKERS = ("o", "s", "D", "^")
Bounded = tuple[float, float, float]


def likelihood_figure(
    likelihoods: Column, rows: Sequence[Row], references: Sequence[Row]
) -> "Figure":
    """Held-out nats per byte of each row minus each reference's; left of 0 the row is better."""
    shown = [
        row for row in rows if row.name in likelihoods.models and row.group in ("Target", "Fused")
    ]
    places = row_places(shown)
    figure = new_figure(PAGE, 1.0 + (0.12 + 0.11 * len(references)) * len(shown))
    axes = figure.subplots()
    axes.axvline(0, color=GREY, linewidth=0.8)
    handles: list[Artist] = []
    for index, reference in enumerate(references):
        shift = 0.5 * (index + 0.5) / len(references) - 0.25
        for row in shown:
            if row.name != reference.name:
                bounds = _difference(likelihoods, row.name, reference.name)
                draw_interval(axes, places[row.name] + shift, bounds, index)
        handles.append(key(index, f"minus {reference.label}"))
    axes.set_yticks(list(places.values()), [row.label for row in shown])
    axes.set_ylim(max(places.values()) + 0.7, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("difference in held-out nats per byte, paired, 95% interval (left: better)")
    light_grid(axes)
    legend_below(figure, handles)
    return figure


def likelihood_words(likelihoods: Column, rows: Sequence[Row], references: Sequence[Row]) -> str:
    """What the figure shows, in words."""
    parts = []
    for reference in references:
        differences = {
            row.label: _difference(likelihoods, row.name, reference.name)
            for row in rows
            if row.name in likelihoods.models
            and row.group == "Fused"
            and row.name != reference.name
        }
        better = [label for label, (_, _, high) in differences.items() if high < 0]
        worse = [label for label, (_, low, _) in differences.items() if low > 0]
        if differences:
            best = min(differences, key=lambda label: differences[label][0])
            parts.append(
                f"Against {reference.label}, {len(better)} of {len(differences)} merges have a "
                f"lower NLL and {len(worse)} a higher one beyond their interval; the lowest is "
                f"{best} with {fixed(differences[best][0], 4, signed=True)}."
            )
    return "Differences in held-out NLL with intervals. " + " ".join(parts)


def _difference(column: Column, model: str, other: str) -> Bounded:
    """Difference and interval; NaN where the two share no unit."""
    result = compare_pairs(column, {model: (model, other)}).get(model)
    return (result.difference, result.low, result.high) if result else (np.nan, np.nan, np.nan)


def draw_interval(axes: "Axes", place: float, bounds: Bounded, index: int) -> None:
    """One difference and its interval, in the colour and mark of its reference."""
    value, low, high = bounds
    colour = COLOURS[index % len(COLOURS)]
    if np.isfinite(low):
        axes.plot([low, high], [place, place], color=colour, linewidth=1.5)
    axes.plot(value, place, MARKERS[index % len(MARKERS)], color=colour, markersize=4)


def key(index: int, label: str) -> "Artist":
    """The legend's entry of a reference."""
    from matplotlib.lines import Line2D

    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    return Line2D([], [], linewidth=1.5, markersize=4, label=label, color=colour, marker=marker)
