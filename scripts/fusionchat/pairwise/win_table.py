"""The table of win rates against a baseline, with what the order of the answers did."""

from collections.abc import Mapping, Sequence
from typing import Any

from fusionchat.pairwise.win_rates import Order, WinRate
from fusionchat.scores.rows import Row
from fusionchat.scores.verdicts import SIGNIFICANT
from fusionchat.tables.table import Table, fixed, span
from fusionchat.tables.views import grouped

COLUMNS = ("model", "win", "tie", "loss", "win rate %", "95% interval", "A/A %", "B/B %")


def win_table(
    rates: Mapping[str, WinRate], rows: Sequence[Row], baseline: Row, judge: str, all_matches: Order
) -> Table:
    """A line for each model that has matches, in the groups of the other tables."""
    groups = grouped(rows, {model: _cells(rate) for model, rate in rates.items()})
    notes = [
        f"Against {baseline.label}; judge: {judge}. Answers to each turn are shown in both orders; "
        "a match is a tie where the orders disagree, as in FastChat; a tie is half a win. "
        "* differs from 50% (Holm-corrected over this table). Intervals: 95%, over questions and "
        "training seeds; replicates meet the baseline's replicate of their seed.",
        "A/A, B/B: matches in which the answer shown first, or second, won in both orders, so that "
        f"the verdict followed the position. Of all {all_matches.matches} matches the orders agree "
        f"in {_percent(all_matches.alike)}%; {_percent(all_matches.first)}% followed the first "
        f"position, {_percent(all_matches.second)}% the second.",
    ]
    if missing := sum(rate.missing for rate in rates.values()):
        notes.append(f"{missing} matches have no verdict in one of their orders and do not count.")
    return Table(f"Pairwise: win rates against {baseline.label}", COLUMNS, groups, notes)


def _percent(share: float) -> str:
    return fixed(100 * share, 1)


def _cells(rate: WinRate) -> list[str]:
    star = "*" if rate.p_holm < SIGNIFICANT else ""
    interval = span(100 * rate.low, 100 * rate.high, 1)
    counts = [str(count) for count in (rate.wins, rate.ties, rate.losses)]
    sides = [_percent(rate.order.first), _percent(rate.order.second)]
    return [*counts, f"{_percent(rate.rate)}{star}", interval, *sides]


def win_records(rates: Mapping[str, WinRate], baseline: str, judge: str) -> list[dict[str, Any]]:
    """One record a model at full precision; shares from 0 to 1."""
    return [
        {"model": model, "baseline": baseline, "judge": judge}
        | {name: value for name, value in vars(rate).items() if name != "order"}
        | {f"order_{name}": value for name, value in vars(rate.order).items()}
        for model, rate in rates.items()
    ]
