"""One look for all figures: sizes, fonts, and the same colour, mark and line for each model.

Colours have a contrast of at least 3 to 1 against the page and differ in hue and in lightness;
marks, lines and hatches repeat the difference for colour-blind readers and in grey print.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fusionchat.files import atomic_file
from fusionchat.scores.rows import Row

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.container import Container
    from matplotlib.figure import Figure

COLUMN = 3.4  # inches, one column of a two-column page
PAGE = 7.0
PALETTES = {
    "Comparison": ("#2f3e46", "#88939a", "#54656f", "#6b7b85", "#7a6f63", "#46525a"),
    "Source": ("#0b3c6f", "#2f7fbf", "#5896c2", "#1c5791", "#4a86b8", "#06223f"),
    "Target": (
        "#595959",
        "#ba8828",
        "#c8540a",
        "#7a2e00",
        "#cf7a50",
        "#a8842c",
        "#a58e64",
        "#4a3b12",
    ),
    "Fused": (
        "#117733",
        "#6f9a34",
        "#3a988a",
        "#0f5c5c",
        "#cc6677",
        "#aa4499",
        "#882255",
        "#b282a4",
        "#5b2a86",
        "#9a8b26",
    ),
}
MARKERS = {  # no multiple of the colours in number, so that a look comes again very late
    "Comparison": ("8", "p", "h", "d", "<", ">", "s"),
    "Source": ("o", "s", "^", "p", "h", "8", "D"),
    "Target": ("D", "v", "P", "d", "<", "H", "s"),
    "Fused": ("X", "*", ">", "P", "d", "H", "v", "<", "^", "s", "o"),
}
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 1.5)))
HATCHES = ("", "///", "..", "xx", "\\\\\\", "++")
# Of lines, so that groups differ in grey too.
SHIFTS = {"Comparison": 1, "Source": 0, "Target": 3, "Fused": 4}
GREY = "#6b6b6b"
DPI = 200
FINE = re.compile(r"\b([1-9]\d*\.\d\d)\d+")  # digits of a coordinate that nobody sees
PER_ROW = 3
LETTER, SYMBOL = 0.058, 0.5  # inches of a letter and of a line's symbol in a legend


@dataclass(frozen=True)
class Look:
    """How one model is drawn."""

    colour: str
    marker: str
    line: object
    hatch: str


def fill(look: Look, line_width: float) -> dict[str, Any]:
    """A bar in a model's colour and hatch."""
    edge = {"edgecolor": "white", "linewidth": line_width}
    return {"color": look.colour, "hatch": look.hatch, **edge}


def looks(rows: Sequence[Row]) -> dict[str, Look]:
    """The look of each model, from its group and its place there.

    Every figure of a run is given the same rows, so a model looks the same in all of them.
    """
    result, seen = {}, dict.fromkeys(PALETTES, 0)
    for row in rows:
        index = seen[row.group]
        seen[row.group] += 1
        palette, markers = PALETTES[row.group], MARKERS[row.group]
        result[row.name] = Look(
            palette[index % len(palette)],
            markers[index % len(markers)],
            LINES[(index + SHIFTS[row.group]) % len(LINES)],
            HATCHES[index % len(HATCHES)],
        )
    return result


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of this size in inches, with small but readable type."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update(
        {
            "font.size": 8,
            "axes.titlesize": 8.5,
            "axes.titlelocation": "left",
            "axes.labelsize": 8,
            "xtick.labelsize": 7.5,
            "ytick.labelsize": 7.5,
            "legend.fontsize": 7.5,
            "legend.frameon": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.7,
            "hatch.linewidth": 0.6,
            "text.parse_math": False,  # a $ in a label is a $
            "svg.fonttype": "path",
            "svg.hashsalt": "fusionchat",
        }
    )
    return Figure(figsize=(width, height), layout="constrained")


def row_places(rows: Sequence[Row]) -> dict[str, float]:
    """Vertical places, top to bottom, with a gap between groups."""
    places, at, group = {}, 0.0, rows[0].group
    for row in rows:
        at += 0.6 if row.group != group else 0.0
        group = row.group
        places[row.name] = at
        at += 1.0
    return places


def light_grid(axes: "Axes", axis: Literal["x", "y", "both"] = "x") -> None:
    """Thin lines behind the data along one axis."""
    axes.grid(axis=axis, color="#d9d9d9", linewidth=0.6)
    axes.set_axisbelow(True)


def panel_grid(figure: "Figure", count: int, **options: Any) -> list["Axes"]:
    """So many axes, at most `PER_ROW` beside each other; `options` are those of `subplots`."""
    columns = min(count, PER_ROW)
    grid = figure.subplots(panel_rows(count), columns, squeeze=False, **options).ravel()
    for spare in grid[count:]:
        spare.remove()
    return list(grid[:count])


def panel_rows(count: int) -> int:
    """Rows of a grid of so many panels."""
    return math.ceil(count / PER_ROW)


def legend_below(figure: "Figure", handles: Sequence["Artist | Container"]) -> None:
    """A legend under the axes, where it can cover no data, as wide as the figure allows.

    Bars are known by their container: matplotlib keeps the label there.
    """
    columns = legend_columns([str(h.get_label()) for h in handles], figure.get_figwidth())
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def legend_columns(labels: Sequence[str], width: float) -> int:
    """The most columns in which the labels, dealt out as matplotlib does, fit `width` inches."""
    for columns in range(len(labels), 1, -1):
        dealt = np.array_split(np.asarray([len(label) for label in labels]), columns)
        longest = [letters.max() for letters in dealt]
        if sum(SYMBOL + LETTER * letters for letters in longest) <= width:
            return columns
    return 1


def save(figure: "Figure", prefix: Path, seen: str) -> None:
    """Write PREFIX.svg (letters as paths, so no font is needed) and PREFIX.png, without dates.

    `seen` says in words what the figure shows; the page gives it to those who cannot see it.
    """
    kinds: dict[str, dict[str, str | None]] = {
        ".svg": {"Date": None, "Description": seen},
        ".png": {"Software": None, "Description": seen},
    }
    for suffix, facts in kinds.items():
        with atomic_file(f"{prefix}{suffix}") as partial:
            figure.savefig(partial, format=suffix[1:], dpi=DPI, metadata=facts)
            if suffix == ".svg":
                text = partial.read_text(encoding="utf-8")
                partial.write_text(FINE.sub(r"\1", text), encoding="utf-8")
