"""The table of a map: gains over controls, a column for each value of the first setting."""

from collections.abc import Mapping

from fusionchat.scores.comparisons import Comparison
from fusionchat.scores.gains import Key
from fusionchat.scores.verdicts import SIGNIFICANT
from fusionchat.tables.table import Table, fixed

NOTE = (
    "Each cell: gain in average score ± half its 95% interval, paired by question and training "
    "seed. * significant after Holm's correction over all gains of this table."
)


def gain_table(gains: Mapping[Key, Comparison], x: str, y: str, title: str) -> Table:
    """A line for each row, control and value of y."""
    columns = sorted({key[0] for key in gains})
    lines = dict.fromkeys((row, control, level) for _, level, row, control in gains)
    groups: dict[str, list[list[str]]] = {}
    for row, control, level in lines:
        cells = [_cell(gains.get((value, level, row, control))) for value in columns]
        pair = f"{row} − {control}"
        groups.setdefault(pair if y else "", []).append([f"{level:g}" if y else pair, *cells])
    heads = [f"{x} {value:g}" for value in columns]
    return Table(title, [y or "gain", *heads], groups, [NOTE])


def _cell(gain: Comparison | None) -> str:
    if gain is None:
        return "–"
    star = "*" if gain.p_holm < SIGNIFICANT else ""
    return f"{fixed(gain.difference, signed=True)}{star} ± {fixed((gain.high - gain.low) / 2)}"
