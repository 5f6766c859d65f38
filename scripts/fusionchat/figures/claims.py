"""The picture of a run: each claim's paired difference from its control, by every metric."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fusionchat.figures.style import GREY, PAGE, light_grid, new_figure
from fusionchat.scores.claims import CONTRADICTED, NOT_RESOLVABLE, SUPPORTED, Finding, Measures
from fusionchat.scores.rows import Row
from fusionchat.tables.claims import contrast
from fusionchat.tables.metrics import direction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {SUPPORTED: "#0b6e4f", CONTRADICTED: "#b3261e", NOT_RESOLVABLE: "#5f6b76"}
MARKERS = {SUPPORTED: "o", CONTRADICTED: "X", NOT_RESOLVABLE: "D"}


def claim_figure(measures: Measures, rows: Sequence[Row]) -> "Figure":
    """A line a claim: row minus control with 95% interval; right of 0 is in favour of the claim."""
    claims = next(iter(measures.values()))
    figure = new_figure(PAGE, 0.95 + 0.3 * len(claims))
    grid = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for axes, (metric, findings) in zip(grid, measures.items(), strict=True):
        axes.axvline(0, color=GREY, linewidth=0.8)
        for place, finding in enumerate(findings):
            _draw(axes, place, finding, metric.scale)
        _range(axes, findings, metric.scale)
        if metric.better < 0:
            axes.invert_xaxis()
        axes.locator_params(axis="x", nbins=4 if metric.digits > 2 else 5)
        title = f"{metric.label}, {direction(metric)} is better"
        axes.set_xlabel(f"{title}\n(right: in favour of the claim)")
        axes.tick_params(axis="y", length=0)
        light_grid(axes)
    grid[0].set_yticks(range(len(claims)), [contrast(finding, rows) for finding in claims])
    grid[0].set_ylim(len(claims) - 0.4, -0.6)
    _legend(figure)
    return figure


def _draw(axes: "Axes", place: int, finding: Finding, scale: float) -> None:
    result = finding.result
    if result is None:
        axes.text(0, place, finding.verdict, ha="center", va="center", fontsize=7, color=GREY)
        return
    colour = COLOURS[finding.verdict]
    if np.isfinite(result.low):
        ends = [scale * result.low, scale * result.high]
        axes.plot(ends, [place, place], color=colour, linewidth=2)
    axes.plot(
        scale * result.difference, place, MARKERS[finding.verdict], color=colour, markersize=5.5
    )


def _range(axes: "Axes", findings: Sequence[Finding], scale: float) -> None:
    """Room on both sides of 0, so that no side is suggested where nothing was found."""
    ends = [
        e for f in findings if f.result for e in (f.result.difference, f.result.low, f.result.high)
    ]
    half = scale * max((abs(end) for end in ends if np.isfinite(end)), default=1.0) or scale
    axes.set_xlim(-1.1 * half, 1.1 * half)


def _legend(figure: "Figure") -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=COLOURS[word], marker=MARKERS[word], linewidth=2, label=word)
        for word in COLOURS
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
