"""What each rule of a run cost, from Snakemake's benchmark files."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fusionchat.errors import UserError
from fusionchat.figures.style import PAGE, light_grid, new_figure
from fusionchat.readers.csv import read_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LIGHT = "#8a99a6"
DARK = "#4a5763"


@dataclass(frozen=True)
class Cost:
    """One rule: jobs, their summed wall and CPU seconds, and the largest memory of one in MB."""

    rule: str
    jobs: int
    seconds: float
    cpu_seconds: float
    peak_mb: float


def read_costs(folder: Path) -> list[Cost]:
    """Sum the files `{rule}.tsv`, also of a mixture's variants, and `{rule}/**/*.tsv` below a
    folder; dearest rule first.
    """
    runs: dict[str, list[dict[str, str]]] = {}
    for path in sorted(folder.rglob("*.tsv")):
        rule = path.relative_to(folder).parts[0].removesuffix(".tsv").rpartition("-")[2]
        runs.setdefault(rule, []).extend(read_csv(path, dict, "a benchmark file", "\t"))
    if not runs:
        raise UserError(f"{folder} holds no benchmark files; run the workflow first")
    costs = [
        Cost(
            rule,
            len(records),
            sum(_number(record, "s") for record in records),
            sum(_number(record, "cpu_time") for record in records),
            max((_number(record, "max_rss") for record in records), default=0.0),
        )
        for rule, records in runs.items()
    ]
    return sorted(costs, key=lambda cost: (-cost.seconds, cost.rule))


def _number(record: dict[str, str], key: str) -> float:
    """A column of a benchmark file; Snakemake writes `-` or `NA` for very short jobs."""
    try:
        value = float(record.get(key) or 0.0)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


def duration(seconds: float) -> str:
    """Seconds as `8 s`, `3.2 min` or `1.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def cost_figure(costs: Sequence[Cost]) -> "Figure":
    """Left: summed wall time of each rule's jobs. Right: the largest memory of one job."""
    figure = new_figure(PAGE, 0.8 + 0.18 * len(costs))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    places = range(len(costs))
    left.barh(places, [cost.seconds for cost in costs], 0.72, color=LIGHT)
    right.barh(places, [cost.peak_mb / 1024 for cost in costs], 0.72, color=DARK)
    for place, cost in enumerate(costs):
        jobs = f"{cost.jobs} job" + ("s" if cost.jobs > 1 else "")
        _write(left, place, cost.seconds, f"{duration(cost.seconds)}, {jobs}")
        _write(right, place, cost.peak_mb / 1024, f"{cost.peak_mb / 1024:.2g}")
    left.set_yticks(places, [cost.rule for cost in costs])
    left.set_ylim(len(costs) - 0.4, -0.6)
    left.set_xlabel("wall time of all jobs, seconds")
    right.set_xlabel("largest memory of one job, GiB")
    left.set_xlim(0, 1.3 * max(cost.seconds for cost in costs) + 1e-9)
    right.set_xlim(0, 1.15 * max(cost.peak_mb for cost in costs) / 1024 + 1e-9)
    for axes in (left, right):
        axes.tick_params(axis="y", length=0)
        light_grid(axes)
    return figure


def _write(axes: "Axes", place: int, value: float, text: str) -> None:
    axes.annotate(
        text,
        (value, place),
        xytext=(3, 0),
        textcoords="offset points",
        va="center",
        fontsize=7,
    )
