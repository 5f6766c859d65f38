"""Figures of the scores: radar, bars with intervals, and the paper's Figure 1 by turn."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionchat.figures.style import (
    COLUMN,
    GREY,
    PAGE,
    Look,
    fill,
    legend_below,
    light_grid,
    new_figure,
    row_places,
)
from fusionchat.scores.benchmark import SCALE, Benchmark, full_name
from fusionchat.scores.comparisons import Comparison, Score, compare, score_models
from fusionchat.scores.rows import Row
from fusionchat.tables.table import fixed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import Container
    from matplotlib.figure import Figure


def radar(benchmark: Benchmark, rows: Sequence[Row], looks: Mapping[str, Look]) -> "Figure":
    """Category scores as one closed line a model; the axes run clockwise in the paper's order.

    Each axis carries the name of the category whose values lie on it: in the authors' own radar
    the labels are in reversed order.
    """
    scores = score_models(benchmark, [row.name for row in rows], draws=1)
    angles = radar_angles(len(benchmark.categories))
    figure = new_figure(COLUMN, COLUMN - 0.1 + 0.16 * ((len(rows) + 1) // 2))
    axes: Any = figure.add_subplot(projection="polar")
    axes.set_theta_offset(np.pi / 2)
    axes.set_theta_direction(-1)
    handles = []
    for row in rows:
        values = [scores[row.name][category].mean for category in benchmark.categories]
        look = looks[row.name]
        handles += axes.plot(
            np.append(angles, angles[0]),
            [*values, values[0]],
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markersize=3,
            linewidth=1.3,
            label=row.label,
        )
    axes.set_xticks(angles, [full_name(category) for category in benchmark.categories])
    axes.tick_params(axis="x", pad=-4)
    for label, angle in zip(axes.get_xticklabels(), angles, strict=True):
        label.set(**label_side(angle))
    axes.set_ylim(0, SCALE[1])
    axes.set_yticks([2, 4, 6, 8, 10], ["2", "4", "6", "8", "10"], color=GREY, fontsize=6.5)
    axes.set_rlabel_position(180 / len(angles))
    axes.grid(color="#d0d0d0", linewidth=0.6)
    axes.spines["polar"].set_color("#b0b0b0")
    legend_below(figure, handles)
    return figure


def radar_angles(count: int) -> np.ndarray:
    """The angle of each category's axis in radians [count], starting at the top."""
    return np.linspace(0, 2 * np.pi, count, endpoint=False)


def label_side(angle: float) -> dict[str, str]:
    """How a label is aligned to stand outside the circle; the angle runs clockwise from the top."""
    across, up = np.sin(angle), np.cos(angle)
    horizontal = "left" if across > 0.01 else "right" if across < -0.01 else "center"
    vertical = "bottom" if up > 0.01 else "top" if up < -0.01 else "center"
    return {"horizontalalignment": horizontal, "verticalalignment": vertical}


def score_bars(
    benchmark: Benchmark, rows: Sequence[Row], baseline: Row, looks: Mapping[str, Look]
) -> "Figure":
    """Left: each model's Average with 95% interval. Right: paired difference from the baseline.

    The right panel leaves the sources out, as the tables do: they are so far away that the models
    made from the pivot could not be told apart beside them.
    """
    names = [row.name for row in rows]
    scores = {
        name: by_category["average"] for name, by_category in score_models(benchmark, names).items()
    }
    others = [row.name for row in rows if row.group != "Source" and row.name != baseline.name]
    differences = compare(benchmark.column, others, baseline.name)
    figure = new_figure(PAGE, 0.9 + 0.2 * len(rows))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    places = row_places(rows)
    _draw_bars(left, rows, places, scores, looks)
    left.set_xlabel("average score (1 to 10), 95% interval")
    right.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    for row in rows:
        if row.name in differences:
            _draw_difference(right, places[row.name], differences[row.name], looks[row.name])
    right.locator_params(axis="x", nbins=4)
    right.set_xlabel(f"difference from {baseline.label},\npaired, 95% interval")
    light_grid(right)
    return figure


def score_words(benchmark: Benchmark, rows: Sequence[Row], turn: int | None = None) -> str:
    """What a figure of averages shows, in words."""
    scores = score_models(benchmark, [row.name for row in rows], turn=turn, draws=1)
    parts = [f"{row.label} {fixed(scores[row.name]['average'].mean)}" for row in rows]
    return "Average scores: " + ", ".join(parts) + "."


def category_words(benchmark: Benchmark, rows: Sequence[Row]) -> str:
    """What the radar shows, in words: where each model is strongest and weakest."""
    scores = score_models(benchmark, [row.name for row in rows], draws=1)
    parts = []
    for row in rows:
        means = {c: scores[row.name][c].mean for c in benchmark.categories}
        best, worst = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
        parts.append(
            f"{row.label} is best in {full_name(best)} ({fixed(means[best])}) and worst in "
            f"{full_name(worst)} ({fixed(means[worst])})"
        )
    return "Category scores around a circle. " + "; ".join(parts) + "."


def _draw_bars(
    axes: "Axes",
    rows: Sequence[Row],
    places: Mapping[str, float],
    scores: Mapping[str, Score],
    looks: Mapping[str, Look],
) -> None:
    for row in rows:
        score, look = scores[row.name], looks[row.name]
        axes.barh(places[row.name], score.mean - SCALE[0], 0.72, left=SCALE[0], color=look.colour)
        if np.isfinite(score.low):
            axes.plot([score.low, score.high], [places[row.name]] * 2, color="white", linewidth=3.2)
            axes.plot([score.low, score.high], [places[row.name]] * 2, color="black", linewidth=1.4)
        axes.annotate(
            fixed(score.mean),
            (max(score.mean, score.high if np.isfinite(score.high) else 0), places[row.name]),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
        )
    axes.set_yticks(list(places.values()), [row.label for row in rows])
    axes.set_ylim(max(places.values()) + 0.6, -0.6)
    top = max(s.high if np.isfinite(s.high) else s.mean for s in scores.values())
    axes.set_xlim(SCALE[0], min(top + 0.12 * (top - SCALE[0]), SCALE[1] + 1))
    axes.tick_params(axis="y", length=0)
    light_grid(axes)


def _draw_difference(axes: "Axes", place: float, result: Comparison, look: Look) -> None:
    if np.isfinite(result.low):
        axes.plot([result.low, result.high], [place, place], color=look.colour, linewidth=1.6)
    axes.plot(result.difference, place, look.marker, color=look.colour, markersize=4.5)
    axes.tick_params(axis="y", length=0)


def turn_bars(benchmark: Benchmark, rows: Sequence[Row], looks: Mapping[str, Look]) -> "Figure":
    """The paper's Figure 1: the Average in each turn and in both, a bar for each model."""
    names = [row.name for row in rows]
    panels = {f"Turn {turn}": score_models(benchmark, names, turn=turn) for turn in benchmark.turns}
    panels["Both turns"] = score_models(benchmark, names)
    figure = new_figure(COLUMN, 2.5 + 0.16 * ((len(rows) + 1) // 2))
    axes = figure.subplots()
    width = 0.86 / len(rows)
    handles: list[Container] = []
    for index, row in enumerate(rows):
        centres = np.arange(len(panels)) - 0.43 + width * (index + 0.5)
        averages = [scores[row.name]["average"] for scores in panels.values()]
        heights = [score.mean - SCALE[0] for score in averages]
        style = fill(looks[row.name], 0.3) | {"label": row.label, "bottom": SCALE[0]}
        bars = axes.bar(centres, heights, width * 0.94, **style)
        handles.append(bars)
        for centre, score in zip(centres, averages, strict=True):
            _mark_interval(axes, centre, score)
    axes.set_xticks(range(len(panels)), list(panels))
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel("average score, 95% interval")
    axes.set_ylim(*SCALE)
    axes.set_yticks([1, 2, 4, 6, 8, 10])
    light_grid(axes, "y")
    legend_below(figure, handles)
    return figure


def _mark_interval(axes: "Axes", centre: float, score: Score) -> None:
    top = score.mean
    if np.isfinite(score.low):
        top = score.high
        axes.plot([centre, centre], [score.low, top], color="white", linewidth=2.6)
        axes.plot([centre, centre], [score.low, top], color="black", linewidth=1.1)
    axes.annotate(
        fixed(score.mean),
        (centre, top),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        rotation=90,
        fontsize=7,
    )
