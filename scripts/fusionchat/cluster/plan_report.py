"""A plan as a table and a figure, and whether GPUs, disk and budgets suffice for it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from fusionchat.cluster.costs.work import Row, total
from fusionchat.cluster.plan import Plan
from fusionchat.figures.costs import duration
from fusionchat.figures.style import PAGE, light_grid, new_figure
from fusionchat.tables.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {
    "rule": "rule",
    "jobs": "jobs",
    "gpus": "GPUs a job",
    "gpu_hours": "GPU-hours",
    "hours": "hours, all jobs",
    "wall_hours": "hours, side by side",
    "kept_gb": "disk GB",
    "temporary_gb": "passing GB",
    "host_gb": "host GB a job",
    "gpu_gb": "GB a GPU",
    "judge_calls": "judge calls",
    "dollars": "dollars",
}


@dataclass(frozen=True)
class Place:
    """What a run may use at once: GPUs, and threads of jobs that need none."""

    gpus: int
    slots: int

    def at_once(self, row: Row) -> int:
        """Jobs of a rule that run side by side."""
        wanted = row.gpu_hours / row.hours if row.hours else 0.0
        room = int(self.gpus / wanted + 1e-9) if wanted else self.slots // row.threads
        return min(max(1, room), row.jobs)

    def wall_hours(self, row: Row) -> float:
        """Hours from the start of a rule's first job to the end of its last; a lower bound."""
        threads = 1 if row.gpus else min(row.threads, self.slots)
        return row.hours / (self.at_once(row) * threads)

    def passing_gb(self, row: Row) -> float:
        """Disk that a rule's jobs need only while they run."""
        return row.temporary_gb * self.at_once(row)


def records(rows: Sequence[Row], place: Place) -> list[dict[str, object]]:
    """The plan as numbers, a record a rule, the sums last: rules run one after the other."""
    by_rule = [
        asdict(row) | {"wall_hours": place.wall_hours(row), "temporary_gb": place.passing_gb(row)}
        for row in rows
    ]
    sums = {
        "wall_hours": sum(place.wall_hours(row) for row in rows),
        "temporary_gb": max(place.passing_gb(row) for row in rows),
    }
    return [
        {key: record[key] for key in TITLES} for record in (*by_rule, asdict(total(rows)) | sums)
    ]


def table(rows: Sequence[Row], place: Place, name: str, notes: Sequence[str] = ()) -> Table:
    """The plan as text cells, with what is to be said about it below."""
    cells = [[_cell(value) for value in record.values()] for record in records(rows, place)]
    usual = [
        f"Side by side: {f'with {place.gpus} GPUs and ' if total(rows).gpus else ''}"
        f"{place.slots} threads of jobs without, no queueing. "
        "Passing: on disk only while jobs run.",
        "Estimates: the throughputs and where they are from are in resources/throughputs.yaml.",
    ]
    return Table(f"Plan of {name}", list(TITLES.values()), {"": cells}, [*usual, *notes])


def notes(plan: Plan) -> list[str]:
    """What a plan rests on, and what is not in its rows."""
    lines = [*plan.facts.notes, *(f"WARNING {said}" for said in plan.facts.idle_sources)]
    wait = plan.busy.in_step / plan.busy.computed if plan.experiment.trained else 1.0
    processes = plan.config["training"]["gpu"]
    if wait > 1.05:
        lines.append(
            f"Trainings compute {plan.busy.computed:,.0f} tokens a dialogue, padding included. "
            f"Where {processes} processes go in step (ZeRO-3), each waits for the longest batch, "
            f"which is not in the table: up to {wait:.2f} times the hours of train_target."
        )
    more = plan.calibration()
    if more:
        price = f" and ${more.dollars:,.2f}" if more.dollars else ""
        lines.append(
            f"`snakemake calibration`, if you ask for it, takes {more.judge_calls:,} more judge "
            f"calls{price}."
        )
    return lines


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if value == 0 else f"{value:.3g}" if value < 100 else f"{value:,.0f}"
    return "" if value == 0 else str(value)


def needed_gb(rows: Sequence[Row], place: Place) -> float:
    """Disk that stays, and that passes while the jobs of a rule run side by side."""
    return total(rows).kept_gb + max(place.passing_gb(row) for row in rows)


def shortfalls(plan: Plan, place: Place, free_gb: float) -> list[str]:
    """What does not suffice, a line each with what to change; nothing when all is well."""
    rows = plan.rows()
    disk = needed_gb(rows, place)
    lines = [
        f"GPUs: {row.rule} takes {row.gpus} for one job, --gpus says {place.gpus}"
        for row in rows
        if row.gpus > place.gpus
    ]
    if disk > free_gb:
        lines.append(f"disk: {disk:,.0f} GB are needed, {free_gb:,.0f} GB are free")
    for name, dollars, budget in plan.budgets():
        if dollars > budget:
            lines.append(f"{name}: ${dollars:,.0f} are needed, the budget is ${budget:,.0f}")
    return lines


def figure(rows: Sequence[Row]) -> "Figure":
    """Left: hours of all jobs, those of GPUs dark. Right: disk that stays."""
    shown = [row for row in rows if row.hours > 0.001 or row.kept_gb > 0.001] or list(rows)
    drawing = new_figure(PAGE, 0.8 + 0.18 * len(shown))
    left, right = drawing.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for place, row in enumerate(shown):
        left.barh(place, row.hours, 0.72, color="#8a99a6" if row.gpu_hours == 0 else "#0b3c6f")
        text = duration(3600 * row.hours) + (
            f", {row.gpu_hours:,.0f} GPU-h" if row.gpu_hours else ""
        )
        left.annotate(
            text, (row.hours, place), (3, 0), textcoords="offset points", va="center", fontsize=7
        )
        right.barh(place, row.kept_gb, 0.72, color="#4a5763")
    left.set_yticks(range(len(shown)), [row.rule for row in shown])
    left.set_ylim(len(shown) - 0.4, -0.6)
    left.set_xlim(0, 1.4 * max(row.hours for row in shown) + 1e-9)
    left.set_xlabel("hours of all jobs")
    right.set_xlabel("disk that stays, GB")
    for axes in (left, right):
        axes.tick_params(axis="y", length=0)
        light_grid(axes)
    return drawing
