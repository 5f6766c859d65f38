"""When fusion helps: gains over controls by two numeric settings, read from a csv."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionchat.figures.style import PAGE, new_figure
from fusionchat.readers.csv import read_csv
from fusionchat.tables.table import fixed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = ("x", "y", "row", "control", "gain", "low", "high")


@dataclass(frozen=True)
class Gain:
    """The gain of `row` over `control` at the settings `x` and `y`, with its 95% interval."""

    x: float
    y: float
    row: str
    control: str
    gain: float
    low: float
    high: float

    @property
    def settled(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def _gain(record: dict[str, str]) -> Gain:
    numbers = (float(record[name] or "nan") for name in ("gain", "low", "high"))
    place = float(record["x"]), float(record["y"])
    return Gain(*place, record["row"], record["control"], *numbers)


def read_gains(path: Path) -> list[Gain]:
    """Read a csv with the columns x, y, row, control, gain, low, high; a positive gain is good."""
    return read_csv(path, _gain, f"a csv with the columns {', '.join(COLUMNS)}")


def map_figure(gains: Sequence[Gain], x: str, y: str, measure: str) -> "Figure":
    """A panel for each row (across) and control (down): colour and number are the gain.

    Bold numbers with a frame: the interval leaves 0 out. Small numbers: half its width.
    """
    rows = list(dict.fromkeys(gain.row for gain in gains))
    controls = list(dict.fromkeys(gain.control for gain in gains))
    xs, ys = sorted({gain.x for gain in gains}), sorted({gain.y for gain in gains})
    half = max((abs(gain.gain) for gain in gains if np.isfinite(gain.gain)), default=1.0) or 1.0
    figure = new_figure(PAGE, 0.9 + len(controls) * (0.45 + 0.33 * len(ys)))
    panels = figure.subplots(len(controls), len(rows), squeeze=False, sharex=True, sharey=True)
    for line, control in zip(panels, controls, strict=True):
        for axes, row in zip(line, rows, strict=True):
            cells = {(g.x, g.y): g for g in gains if (g.row, g.control) == (row, control)}
            image = _panel(axes, cells, xs, ys, half)
            axes.set_title(f"{row} − {control}")
    for axes in panels[-1]:
        axes.set_xticks(range(len(xs)), [f"{value:g}" for value in xs])
        axes.set_xlabel(x)
    for line in panels:
        line[0].set_yticks(range(len(ys)), [f"{value:g}" for value in ys])
        line[0].set_ylabel(y)
    bar = figure.colorbar(image, ax=panels, fraction=0.03, pad=0.02)
    bar.set_label(f"gain, {measure}")
    bar.outline.set_visible(False)
    return figure


def _panel(
    axes: "Axes",
    cells: Mapping[tuple[float, float], Gain],
    xs: Sequence[float],
    ys: Sequence[float],
    half: float,
) -> Any:
    from matplotlib.patches import Rectangle

    grid = np.full((len(ys), len(xs)), np.nan)
    for (x, y), gain in cells.items():
        grid[ys.index(y), xs.index(x)] = gain.gain
    image = axes.imshow(grid, cmap="RdBu", vmin=-half, vmax=half, aspect="auto", origin="lower")
    for (x, y), gain in cells.items():
        if not np.isfinite(gain.gain):
            continue
        place = (xs.index(x), ys.index(y))
        ink = "white" if abs(gain.gain) > 0.6 * half else "black"
        weight = "bold" if gain.settled else "normal"
        text = fixed(gain.gain, signed=True) + f"\n±{fixed((gain.high - gain.low) / 2)}"
        axes.text(*place, text, ha="center", va="center", fontsize=6, color=ink, weight=weight)
        if gain.settled:
            corner = (place[0] - 0.47, place[1] - 0.47)
            axes.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, edgecolor=ink, linewidth=1))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image


def curve_figure(gains: Sequence[Gain], x: str, measure: str) -> "Figure":
    """Where there is one value of y: gain over x with intervals, a panel a control."""
    from fusionchat.figures.forest import COLOURS, MARKERS
    from fusionchat.figures.style import GREY, legend_below, light_grid

    rows = list(dict.fromkeys(gain.row for gain in gains))
    controls = list(dict.fromkeys(gain.control for gain in gains))
    xs = sorted({gain.x for gain in gains})
    figure = new_figure(PAGE, 2.8)
    panels = figure.subplots(1, len(controls), squeeze=False, sharey=True)[0]
    for axes, control in zip(panels, controls, strict=True):
        axes.axhline(0, color=GREY, linewidth=0.8)
        for index, row in enumerate(rows):
            points = sorted(
                (g for g in gains if (g.row, g.control) == (row, control)), key=lambda g: g.x
            )
            shift = 0.16 * (index - (len(rows) - 1) / 2)
            at = [xs.index(g.x) + shift for g in points]
            style = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % 4]}
            axes.plot(at, [g.gain for g in points], label=row, markersize=4, linewidth=1, **style)
            for place, g in zip(at, points, strict=True):
                axes.plot([place, place], [g.low, g.high], color=style["color"], linewidth=1.2)
        axes.set_xticks(range(len(xs)), [f"{value:g}" for value in xs])
        axes.set_xlabel(x)
        axes.set_title(f"gain over {control}")
        light_grid(axes, "y")
    panels[0].set_ylabel(f"gain, {measure}, 95% interval")
    legend_below(figure, panels[0].get_legend_handles_labels()[0])
    return figure


def map_words(gains: Sequence[Gain], x: str, y: str) -> str:
    """What the figure shows, in words."""
    parts = []
    for row, control in dict.fromkeys((gain.row, gain.control) for gain in gains):
        points = [g for g in gains if (g.row, g.control) == (row, control)]
        up = sum(g.settled and g.gain > 0 for g in points)
        down = sum(g.settled and g.gain < 0 for g in points)
        top = max(points, key=lambda g: g.gain)
        place = f"{x} {top.x:g}" + (f", {y} {top.y:g}" if y else "")
        parts.append(
            f"{row} over {control}: higher in {up} and lower in {down} of {len(points)} settings, "
            f"most at {place} ({fixed(top.gain, signed=True)})."
        )
    return " ".join(parts)
