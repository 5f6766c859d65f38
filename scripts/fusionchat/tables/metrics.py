"""The table of one metric, and its numbers for the csv file and the page."""

from collections.abc import Sequence

from fusionchat.scores.comparisons import Comparison, compare_pairs, score
from fusionchat.scores.metrics import Column, Metric
from fusionchat.scores.rows import Row
from fusionchat.tables.table import Table
from fusionchat.tables.views import Findings, grouped, metric_cell, short_label, shown, shown_span


def direction(metric: Metric) -> str:
    """Which values are better."""
    return "higher" if metric.better > 0 else "lower"


def difference(column: Column, name: str, base: str) -> Comparison | None:
    """One model minus another; None where they cannot be compared."""
    known = column.metric.unit and name != base and {name, base} <= column.models.keys()
    return compare_pairs(column, {name: (name, base)}).get(name) if known else None


def metric_table(findings: Findings, column: Column) -> Table | None:
    """Each row's score by a metric, and the paired difference from the baseline."""
    metric, base = column.metric, findings.baseline
    if base.name not in column.models or not metric.unit:
        return None
    cells = {}
    for row in findings.rows:
        if row.name in column.models:
            value, result = score(column, row.name), difference(column, row.name, base.name)
            cells[row.name] = [shown(metric, value.mean), shown_span(metric, value.low, value.high)]
            cells[row.name] += [
                shown(metric, result.difference, signed=True) if result else "–",
                shown_span(metric, result.low, result.high, signed=True) if result else "–",
            ]
    columns = ["Model", metric.label, "95% interval"]
    columns += [f"− {short_label(base.label)}", "95% interval"]
    several = any(len(values.seeds) > 1 for values in column.models.values())
    seeds = " and training seed" if several else ""
    notes = [
        f"{len(column.of(base.name).units)} {metric.unit}s; {direction(metric)} is better. "
        f"Intervals: 95%, t over {metric.unit}s{seeds}; differences are paired by them, "
        "uncorrected."
    ]
    title = metric.about[0].upper() + metric.about[1:]
    return Table(title, columns, grouped(findings.rows, cells), notes)


def metric_record(columns: Sequence[Column], name: str, base: str) -> dict[str, object]:
    """A row's columns of the csv file."""
    record: dict[str, object] = {}
    for column in columns:
        if name not in column.models:
            continue
        key, scale, value = column.metric.name, column.metric.scale, score(column, name)
        record |= {key: scale * value.mean, f"{key}_low": scale * value.low}
        record |= {f"{key}_high": scale * value.high}
        if (result := difference(column, name, base)) is not None:
            key = f"{key}_difference"
            record |= {key: scale * result.difference, f"{key}_low": scale * result.low}
            record |= {f"{key}_high": scale * result.high}
    return record


def metric_sentence(column: Column, subject: Row, baseline: Row) -> str:
    """What a metric says of the page's question; empty where it has no answer."""
    result = difference(column, subject.name, baseline.name)
    if result is None:
        return ""
    metric, (low, high) = column.metric, (result.low, result.high)
    word = "lower" if result.difference < 0 else "higher"
    settled = word if high < 0 or low > 0 else "not resolvable"
    about = metric.about[0].upper() + metric.about[1:]
    return (
        f"{about}: {subject.label} {metric_cell(column, subject.name)} and {baseline.label} "
        f"{metric_cell(column, baseline.name)}, paired difference "
        f"{shown(metric, result.difference, signed=True)} "
        f"(95% {shown_span(metric, low, high, signed=True)}), {settled}."
    )
