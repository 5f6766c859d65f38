"""The map of VaRM's weights by layer and matrix, as deviations from equal weights."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fusionchat.figures.style import PAGE, PER_ROW, new_figure, panel_grid, panel_rows
from fusionchat.readers.csv import read_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LAYER = re.compile(r"^(?:.*\.)?(?:layers|layer|h|blocks|block)\.(\d+)(?:\.(.+))?$")
OUTSIDE = "none"
FAR = 0.1  # from equal weights: a weight that says something
MOST_ANNOTATED = 8
NARROWEST = 0.01
WHITE_FROM = 0.6  # of the largest deviation: from here on white has more contrast than black


def read_weights(path: Path) -> dict[str, dict[str, float]]:
    """The weight of each target for each unit: {target: {unit: weight}}."""
    weights: dict[str, dict[str, float]] = {}
    for target, unit, weight in read_csv(path, _weight, "a weights.csv of a merge"):
        weights.setdefault(target, {})[unit] = weight
    return weights


def _weight(record: dict[str, str]) -> tuple[str, str, float]:
    return record["target"], record["unit"], float(record["weight"])


def place_unit(unit: str) -> tuple[str, int | None]:
    """The matrix's name within its layer, and the layer; None for a unit outside all layers."""
    match = LAYER.match(unit)
    if not match:
        return unit.removesuffix(".weight").rsplit(".", 1)[-1], None
    return (match.group(2) or "all").removesuffix(".weight"), int(match.group(1))


def weight_grid(weights: Mapping[str, float]) -> tuple[list[str], list[str], np.ndarray]:
    """Names, columns and the weights [names, columns]; NaN where a layer lacks the matrix.

    The columns are the layers and, last, `none` for units outside all layers.
    """
    placed = {unit: place_unit(unit) for unit in weights}
    inside = [(name, layer) for name, layer in placed.values() if layer is not None]
    outside = [name for name, layer in placed.values() if layer is None]
    names = [*dict.fromkeys(name for name, _ in inside), *outside]
    columns = [str(layer) for layer in sorted({layer for _, layer in inside})]
    columns += [OUTSIDE] if outside else []
    grid = np.full((len(names), len(columns)), np.nan)
    for unit, (name, layer) in placed.items():
        column = columns.index(OUTSIDE if layer is None else str(layer))
        grid[names.index(name), column] = weights[unit]
    return names, columns, grid


def heatmap(weights: Mapping[str, Mapping[str, float]], labels: Mapping[str, str]) -> "Figure":
    """One map a target: rows are matrices, columns layers, colour the weight minus an equal one.

    Of two targets the second is the first's mirror image and is left out.
    """
    equal = 1 / len(weights)
    weights = dict(list(weights.items())[:1]) if len(weights) == 2 else weights
    grids = {target: weight_grid(by_matrix) for target, by_matrix in weights.items()}
    names, columns, _ = next(iter(grids.values()))
    figure = new_figure(PAGE, 0.2 + (0.9 + 0.2 * len(names)) * panel_rows(len(grids)))
    panels = panel_grid(figure, len(grids), sharey=True)
    half = largest_deviation(weights, equal)
    for axes, (target, (_, _, grid)) in zip(panels, grids.items(), strict=True):
        image = axes.imshow(grid - equal, cmap="PuOr_r", vmin=-half, vmax=half, aspect="auto")
        axes.set_title(labels.get(target, target))
        axes.set_xlabel("layer")
        every = max(1, len(columns) // (10 if len(grids) < PER_ROW else 5))
        axes.set_xticks(range(0, len(columns), every), columns[::every])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if len(columns) <= MOST_ANNOTATED:
            _write_values(axes, grid, equal, WHITE_FROM * half)
    panels[0].set_yticks(range(len(names)), [_short(name) for name in names])
    bar = figure.colorbar(image, ax=panels, fraction=0.04, pad=0.02)
    bar.set_label(f"weight minus {equal:.3g}")
    bar.outline.set_visible(False)
    return figure


def largest_deviation(weights: Mapping[str, Mapping[str, float]], equal: float) -> float:
    """Half the range of colours: as wide as the weights need, with equal weights in its middle.

    Never narrower than `NARROWEST`, so that rounding does not look like an effect.
    """
    values = [value for by_matrix in weights.values() for value in by_matrix.values()]
    return max(NARROWEST, *(abs(value - equal) for value in values))


def weight_words(weights: Mapping[str, Mapping[str, float]], labels: Mapping[str, str]) -> str:
    """What the figure shows, in words."""
    target, by_matrix = next(iter(weights.items()))
    label, equal = labels.get(target, target), 1 / len(weights)
    top, low = (choose(by_matrix, key=by_matrix.__getitem__) for choose in (max, min))
    far = sum(abs(value - equal) >= FAR for value in by_matrix.values())
    return (
        f"Weights of {label} by matrix: from {by_matrix[low]:.3f} ({low}) to "
        f"{by_matrix[top]:.3f} ({top}); "
        f"{far} of {len(by_matrix)} lie at least {FAR} from {equal:.3g}."
    )


def _short(name: str) -> str:
    return name.replace("self_attn.", "attention ").replace("mlp.", "MLP ").replace("_", " ")


def _write_values(axes: "Axes", grid: np.ndarray, equal: float, white_from: float) -> None:
    for (row, column), value in np.ndenumerate(grid):
        if np.isfinite(value):
            colour = "white" if abs(value - equal) > white_from else "black"
            axes.text(column, row, f"{value:.3f}", ha="center", va="center", color=colour, size=6.5)
