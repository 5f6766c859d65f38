"""The table of held-out likelihoods, and their numbers for the csv file and the page."""

from fusionchat.scores.likelihood import Likelihood, likelihood_difference
from fusionchat.scores.rows import Row
from fusionchat.tables.table import Table, fixed, span
from fusionchat.tables.views import Findings, grouped, short_label

DIGITS = 4
Likelihoods = dict[str, Likelihood]


def likelihood_table(findings: Findings, likelihoods: Likelihoods) -> Table | None:
    """Nats per response byte of each row, and the paired difference from the baseline."""
    base = findings.baseline.name
    if base not in likelihoods:
        return None
    cells = {}
    for row in findings.rows:
        if row.name in likelihoods:
            value, low, high = likelihoods[row.name].byte
            cells[row.name] = [fixed(value, DIGITS), span(low, high, DIGITS)]
            cells[row.name] += (
                ["–", "–"] if row.name == base else _cells(likelihoods, row.name, base)
            )
    columns = ["Model", "NLL/byte", "95% interval"]
    columns += [f"− {short_label(findings.baseline.label)}", "95% interval"]
    several = any(len(entry.seeds) > 1 for entry in likelihoods.values())
    seeds = " and training seed" if several else ""
    notes = [
        f"Nats per response byte of {len(likelihoods[base].ids)} held-out dialogues; lower is "
        f"better. Intervals: 95%, t over dialogues{seeds}; differences are paired by them, "
        "uncorrected."
    ]
    return Table("Held-out likelihood", columns, grouped(findings.rows, cells), notes)


def _cells(likelihoods: Likelihoods, name: str, base: str) -> list[str]:
    value, low, high = likelihood_difference(likelihoods[name], likelihoods[base])
    return [fixed(value, DIGITS, signed=True), difference_span(low, high)]


def difference_span(low: float, high: float) -> str:
    """The interval of a difference; none where the two models score all dialogues alike."""
    return span(low, high, DIGITS, signed=True)


def likelihood_record(likelihoods: Likelihoods, name: str, base: str) -> dict[str, object]:
    """A row's columns of the csv file."""
    if name not in likelihoods:
        return {}
    numbers = {"nll": likelihoods[name].token, "nll_byte": likelihoods[name].byte}
    if base in likelihoods and name != base:
        difference = likelihood_difference(likelihoods[name], likelihoods[base])
        numbers["nll_byte_difference"] = difference
    record: dict[str, object] = {}
    for key, (value, low, high) in numbers.items():
        record |= {key: value, f"{key}_low": low, f"{key}_high": high}
    return record


def likelihood_sentence(likelihoods: Likelihoods, subject: Row, baseline: Row) -> str:
    """What the held-out likelihoods say of the page's question; empty where there are none."""
    if subject.name not in likelihoods or baseline.name not in likelihoods:
        return ""
    one, other = likelihoods[subject.name], likelihoods[baseline.name]
    value, low, high = likelihood_difference(one, other)
    settled = "not resolvable" if not (high < 0 or low > 0) else "lower" if value < 0 else "higher"
    return (
        f"Held-out negative log-likelihood, nats per response byte: {subject.label} "
        f"{fixed(one.byte[0], DIGITS)} and {baseline.label} {fixed(other.byte[0], DIGITS)}, paired "
        f"difference {fixed(value, DIGITS, signed=True)} (95% {difference_span(low, high)}), "
        f"{settled}."
    )
