"""The paper's claims with their verdicts, as a table, as records, and as the page's first lines."""

import html
from collections.abc import Sequence

from fusionchat.scores.claims import (
    CONTRADICTED,
    CONTROL_MISSING,
    NOT_RESOLVABLE,
    SUPPORTED,
    Finding,
    Measures,
)
from fusionchat.scores.metrics import Metric
from fusionchat.scores.rows import Row, find_row
from fusionchat.tables.table import Table
from fusionchat.tables.views import shown, shown_span

MARKS = {SUPPORTED: "✓", CONTRADICTED: "✗", NOT_RESOLVABLE: "?", CONTROL_MISSING: "–"}


def contrast(finding: Finding, rows: Sequence[Row]) -> str:
    """Row and control by their labels: `VaRM − Self`."""
    label = find_row(rows, finding.claim.row, "--claim").label
    if finding.control is None:
        return label
    return f"{label} − {find_row(rows, finding.control, '--claim').label}"


def claim_table(measures: Measures, rows: Sequence[Row]) -> Table:
    """Each claim with its control, the paired difference and the verdict by every metric."""
    findings = next(iter(measures.values()))
    lines = [
        [
            finding.claim.statement,
            contrast(finding, rows),
            *(cell for metric, one in measures.items() for cell in _cells(metric, one[index])),
        ]
        for index, finding in enumerate(findings)
    ]
    columns = ["Claim of the paper", "ours"]
    for metric in measures:
        columns += [metric.label, "95% interval", "verdict"]
    return Table("Claims and controls", columns, {"": lines}, claim_notes(measures), left=2)


def _cells(metric: Metric, finding: Finding) -> list[str]:
    if finding.result is None:
        return ["–", "–", finding.verdict]
    result = finding.result
    interval = shown_span(metric, result.low, result.high, signed=True)
    return [shown(metric, result.difference, signed=True), interval, finding.verdict]


def claim_notes(measures: Measures) -> list[str]:
    """How a verdict comes about, and the family of the correction."""
    findings = next(iter(measures.values()))
    pairs = {(f.claim.row, control) for f in findings for control in f.claim.controls}
    lower = "".join(f" Lower {m.label} is better." for m in measures if m.better < 0)
    notes = [
        "The claims are the paper's, the verdicts ours: supported or contradicted where the "
        f"difference is significant (Holm-corrected over these {len(pairs)} comparisons, for each "
        f"measure), otherwise not resolvable. Intervals: 95%, uncorrected.{lower} Where a claim "
        "has several controls it must beat them all; the hardest is shown."
    ]
    lacking = [f.claim.statement for f in findings if f.verdict == CONTROL_MISSING]
    if lacking:
        notes.append(f"This run has no control for: {'; '.join(lacking)}.")
    return notes


def claim_records(measures: Measures) -> list[dict[str, object]]:
    """One record for each claim and measure, at full precision, as measured."""
    records = []
    for metric, findings in measures.items():
        for finding in findings:
            record: dict[str, object] = {
                "claim": finding.claim.name,
                "measure": metric.name,
                "row": finding.claim.row,
                "control": finding.control or "",
                "controls": ",".join(finding.claim.controls),
                "verdict": finding.verdict,
            }
            record |= vars(finding.result) if finding.result else {}
            records.append(record)
    return records


def claim_lines(measures: Measures, rows: Sequence[Row]) -> str:
    """The page's first lines as HTML: a claim once, and below it each control and verdict."""
    lines: dict[str, list[str]] = {}
    for index, finding in enumerate(next(iter(measures.values()))):
        verdicts = "".join(
            f'<span class="verdict">{html.escape(metric.label)}: {MARKS[word]} {word}</span>'
            for metric, findings in measures.items()
            for word in [findings[index].verdict]
        )
        line = f"<div><span>{html.escape(contrast(finding, rows))}</span> {verdicts}</div>"
        lines.setdefault(finding.claim.statement, []).append(line)
    items = (
        f"<li><b>{html.escape(claim)}</b> {''.join(each)}</li>" for claim, each in lines.items()
    )
    return f'<ol class="claims">{"".join(items)}</ol>'


def claim_words(measures: Measures, rows: Sequence[Row]) -> str:
    """What the figure of the claims shows, in words: what is settled by name, the rest counted."""
    parts = []
    for metric, findings in measures.items():
        words = []
        for verdict in MARKS:
            named = [contrast(f, rows) for f in findings if f.verdict == verdict]
            if named and verdict in (SUPPORTED, CONTRADICTED):
                words.append(f"{verdict}: {', '.join(named)}")
            elif named:
                words.append(f"{len(named)} {verdict}")
        parts.append(f"{metric.label[0].upper()}{metric.label[1:]}: {'; '.join(words)}.")
    return " ".join(["Paired differences of each claim from its control.", *parts])
