"""The table of AlpacaEval's win rates, beside printed ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fusionchat.alpaca_eval.rates import Answers
from fusionchat.readers.csv import read_csv
from fusionchat.scores.comparisons import score
from fusionchat.scores.metrics import Column
from fusionchat.scores.rows import Row
from fusionchat.tables.table import Table, fixed, span
from fusionchat.tables.views import grouped, shown

Printed = Mapping[str, tuple[float, float]]  # WR and LC in percent, by model
PRINTED_BY = "GPT-4-1106-Preview"


def printed(path: Path, rows: Sequence[Row]) -> dict[str, tuple[float, float]]:
    """The printed numbers of those rows that a paper's csv has in the same group."""

    def parse(r: dict[str, str]) -> tuple[tuple[str, str], tuple[float, float]]:
        return (r["group"], r["row"]), (float(r["wr"]), float(r["lc"]))

    known = dict(read_csv(path, parse, "a table of group, row, wr and lc"))
    return {r.name: known[r.group, r.paper] for r in rows if (r.group, r.paper) in known}


def rate_table(
    columns: Sequence[Column],
    models: Mapping[str, Answers],
    rows: Sequence[Row],
    paper: Printed,
    judge: str,
    baseline: str,
) -> Table:
    """A line for each model that was judged, in the groups of the other tables."""
    cells = {
        model: [*(cell for one in columns for cell in _rate(one, model)), fixed(given.length, 0)]
        for model, given in models.items()
    }
    for model in cells if paper else ():
        cells[model] += [fixed(value) for value in paper.get(model, (float("nan"),) * 2)]
    heads = ["model", *(head for one in columns for head in (one.metric.label, "95% interval"))]
    heads.append("characters")
    notes = [
        f"Against {baseline}; judge: {judge}, who sees each pair once, in a seeded order. WR: mean "
        "preference. LC: the same with the answers' length controlled for, as in AlpacaEval 2. "
        "Intervals: 95%, over questions. Of a model that was trained with several seeds, the first."
    ]
    if paper:
        heads += ["printed WR", "printed LC"]
        notes.append(
            f"Printed: arXiv 2408.07990, judge {PRINTED_BY}; rates of another judge are no "
            "reproduction of them."
        )
    if missing := sum(given.missing for given in models.values()):
        notes.append(f"{missing} answers have no judgment and do not count in WR.")
    return Table("AlpacaEval 2", heads, grouped(rows, cells), notes)


def _rate(column: Column, model: str) -> list[str]:
    one = score(column, model)
    low, high = (column.metric.scale * end for end in (one.low, one.high))
    return [shown(column.metric, one.mean), span(low, high, 1)]


def rate_records(
    columns: Sequence[Column],
    models: Mapping[str, Answers],
    paper: Printed,
    judge: str,
    baseline: str,
) -> list[dict[str, Any]]:
    """One record a model at full precision; rates in percent."""
    records = []
    for model, given in models.items():
        record: dict[str, Any] = {"model": model, "baseline": baseline, "judge": judge}
        record |= {"judged": given.judged, "missing": given.missing, "characters": given.length}
        for column in columns:
            name, one = column.metric.name, score(column, model)
            record |= {name: 100 * one.mean}
            record |= {f"{name}_low": 100 * one.low, f"{name}_high": 100 * one.high}
        wr, lc = paper.get(model, (float("nan"), float("nan")))
        records.append(record | ({"printed_wr": wr, "printed_lc": lc} if paper else {}))
    return records
