"""One look for all figures: sizes, fonts, and the same colour, mark and line for each model.

Colours differ in hue and in lightness, so that they stay apart for colour-blind readers and in
grey print; marks, lines and hatches repeat the difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fusionchat.files import atomic_file
from fusionchat.report.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN = 3.4  # inches, one column of a two-column page
PAGE = 7.0
PALETTES = {
    "Source": ("#0b3c6f", "#2f7fbf", "#8cc4ea", "#1c5791", "#5fa2d8", "#06223f"),
    "Target": ("#595959", "#f2b134", "#c8540a", "#7a2e00", "#e98a5b", "#a8842c"),
    "Fused": (
        "#117733",
        "#88b84a",
        "#44aa99",
        "#0f5c5c",
        "#cc6677",
        "#aa4499",
        "#882255",
        "#d49bc4",
        "#5b2a86",
        "#b0a030",
    ),
}
MARKERS = {
    "Source": ("o", "s", "^", "p", "h", "8"),
    "Target": ("D", "v", "P", "d", "<", "H"),
    "Fused": ("X", "*", ">", "P", "d", "H", "v", "<", "^", "s"),
}
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++")
SHIFTS = {"Source": 0, "Target": 3, "Fused": 4}  # of lines, so that groups differ in grey too
GREY = "#6b6b6b"
DPI = 200


@dataclass(frozen=True)
class Look:
    """How one model is drawn."""

    colour: str
    marker: str
    line: object
    hatch: str


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
            "svg.fonttype": "path",
            "svg.hashsalt": "fusionchat",
        }
    )
    return Figure(figsize=(width, height), layout="constrained")


def light_grid(axes: "Axes", axis: str = "x") -> None:
    """Thin lines behind the data along one axis."""
    axes.grid(axis=axis, color="#d9d9d9", linewidth=0.6)
    axes.set_axisbelow(True)


def legend_below(figure: "Figure", handles: Sequence[object], columns: int) -> None:
    """A legend under the axes, where it can cover no data."""
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def save(figure: "Figure", prefix: Path) -> None:
    """Write PREFIX.svg (letters as paths, so no font is needed) and PREFIX.png, without dates."""
    for suffix, facts in ((".svg", {"Date": None}), (".png", {"Software": None})):
        with atomic_file(f"{prefix}{suffix}") as partial:
            figure.savefig(partial, format=suffix[1:], dpi=DPI, metadata=facts)
