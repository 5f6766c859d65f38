"""Figures of the teachers: who won MinCE, and how the models' cross-entropies compare."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fusionchat.figures.style import (
    COLUMN,
    GREY,
    PAGE,
    PER_ROW,
    Look,
    fill,
    legend_below,
    new_figure,
    panel_grid,
    panel_rows,
)
from fusionchat.scores.benchmark import full_name
from fusionchat.scores.rows import Row
from fusionchat.scores.teachers import ALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import Container
    from matplotlib.figure import Figure

MANY_POINTS = 3000
Shares = Mapping[str, Mapping[str, tuple[int, float]]]


def winners(
    shares: Mapping[str, Shares],
    targets: Sequence[Row],
    rows: Sequence[Row],
    looks: Mapping[str, Look],
) -> "Figure":
    """A panel a target: for each category a bar of the shares that each teacher won."""
    most = max(len(by_category) for by_category in shares.values())
    figure = new_figure(PAGE, 0.4 + (0.8 + 0.2 * most) * panel_rows(len(targets)))
    panels = panel_grid(figure, len(targets), sharey=True)
    handles: dict[str, Container] = {}
    for axes, target in zip(panels, targets, strict=True):
        by_category = shares[target.name]
        models = [row for row in rows if any(row.name in won for won in by_category.values())]
        for place, won in enumerate(by_category.values()):
            _stack(axes, place, [(row, won[row.name][1]) for row in models], looks, handles)
        axes.set_title(target.label)
        idle = [row.label for row in rows if by_category[ALL].get(row.name, (1, 0))[0] == 0]
        if idle:
            axes.set_title(f"{target.label}\n(never teaches: {', '.join(idle)})", fontsize=7.5)
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0", "50%", "100%"])
        axes.set_xlabel("share of dialogues")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    _name_categories(panels[0], shares[targets[0].name])
    legend_below(figure, [handles[row.name] for row in rows if row.name in handles])
    return figure


def winner_words(shares: Mapping[str, Shares], targets: Sequence[Row], rows: Sequence[Row]) -> str:
    """What the figure shows, in words."""
    parts = []
    for target in targets:
        won = shares[target.name][ALL]
        teachers = [f"{row.label} {won[row.name][1]:.0%}" for row in rows if row.name in won]
        parts.append(f"{target.label}: {', '.join(teachers)}")
    return "Share of all dialogues that each model teaches. " + "; ".join(parts) + "."


def winner_records(shares: Mapping[str, Shares]) -> list[dict[str, object]]:
    """One record for each target, category and teacher."""
    return [
        {"target": target, "category": category, "teacher": name, "dialogues": won, "share": share}
        for target, by_category in shares.items()
        for category, teachers in by_category.items()
        for name, (won, share) in teachers.items()
    ]


def entropy_words(
    entropies: Mapping[str, Mapping[str, float]], pivot: Row, sources: Sequence[Row]
) -> str:
    """What the figure of the cross-entropies shows, in words."""
    parts = []
    for source in sources:
        points = paired_entropies(entropies[pivot.name], entropies[source.name])
        share = float((points[:, 1] < points[:, 0]).mean()) if len(points) else 0.0
        parts.append(f"{source.label} predicts {share:.0%} of {len(points)} dialogues better")
    return f"Each dialogue's nats per byte. Than {pivot.label}, " + "; ".join(parts) + "."


def _stack(
    axes: "Axes",
    place: int,
    parts: Sequence[tuple[Row, float]],
    looks: Mapping[str, Look],
    handles: "dict[str, Container]",
) -> None:
    start = 0.0
    for row, share in parts:
        style = fill(looks[row.name], 0.4)
        bar = axes.barh(place, share, 0.78, left=start, label=row.label, **style)
        handles.setdefault(row.name, bar)
        start += share


def _name_categories(axes: "Axes", by_category: Shares) -> None:
    names = []
    for category, won in by_category.items():
        total = sum(count for count, _ in won.values())
        names.append(f"{full_name(category)} (n = {total})")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)


def cross_entropies(
    entropies: Mapping[str, Mapping[str, float]],
    pivot: Row,
    sources: Sequence[Row],
    looks: Mapping[str, Look],
) -> "Figure":
    """A panel a source: pivot across, source up, in nats a byte; below the line the source wins."""
    height = COLUMN * 0.95 if len(sources) < PER_ROW else COLUMN * 0.8 * panel_rows(len(sources))
    figure = new_figure(min(PAGE, COLUMN * len(sources)), height)
    panels = panel_grid(figure, len(sources))
    for axes, source in zip(panels, sources, strict=True):
        points = paired_entropies(entropies[pivot.name], entropies[source.name])
        wins = points[:, 1] < points[:, 0]
        for row, chosen in ((pivot, ~wins), (source, wins)):
            look = looks[row.name]
            share = chosen.mean() if len(points) else 0.0
            axes.plot(
                *points[chosen].T,
                look.marker,
                color=look.colour,
                markersize=3 if len(points) < MANY_POINTS else 1,
                alpha=0.85,
                markeredgewidth=0,
                rasterized=len(points) >= MANY_POINTS,
                label=f"{row.label} is lower: {share:.0%}",
            )
        _square_axes(axes, points)
        axes.set_xlabel(f"{pivot.label}, nats per byte")
        axes.set_ylabel(f"{source.label}, nats per byte")
        place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "handletextpad": 0.3}
        axes.legend(**place, markerscale=1 if len(points) < MANY_POINTS else 4)
    return figure


def paired_entropies(pivot: Mapping[str, float], source: Mapping[str, float]) -> np.ndarray:
    """The finite cross-entropies of the dialogues that both have [D, 2], pivot first."""
    pairs = [(pivot[name], source[name]) for name in pivot if name in source]
    points = np.asarray(pairs, dtype=np.float64).reshape(-1, 2)
    return points[np.isfinite(points).all(axis=1)]


def _square_axes(axes: "Axes", points: np.ndarray) -> None:
    """The same range on both axes, with the line of equality; the worst 0.5% may lie outside."""
    low, high = np.quantile(points, [0, 0.995]) if len(points) else (0.0, 1.0)
    margin = 0.05 * (high - low) + 1e-6
    limits = (low - margin, high + margin)
    axes.plot(limits, limits, color=GREY, linewidth=0.8)
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    axes.locator_params(nbins=6)
    axes.set_yticks(axes.get_xticks())
    axes.set_ylim(limits)
    axes.set_aspect("equal")
