"""The paper's claims with their verdicts, as a table, as records, and as the page's first lines."""

import html
from collections.abc import Mapping, Sequence

from fusionchat.scores.claims import (
    CONTRADICTED,
    CONTROL_MISSING,
    NOT_RESOLVABLE,
    SUPPORTED,
    Finding,
)
from fusionchat.scores.rows import Row, find_row
from fusionchat.tables.likelihood import DIGITS
from fusionchat.tables.table import Table, fixed, span

RATING_DIGITS = 2
MEASURES = {"rating": "Rating", "nll_byte": "NLL"}
MARKS = {SUPPORTED: "✓", CONTRADICTED: "✗", NOT_RESOLVABLE: "?", CONTROL_MISSING: "–"}


def contrast(finding: Finding, rows: Sequence[Row]) -> str:
    """Row and control by their labels: `VaRM − Self`."""
    label = find_row(rows, finding.claim.row, "--claim").label
    if finding.control is None:
        return label
    return f"{label} − {find_row(rows, finding.control, '--claim').label}"


def claim_table(
    ratings: Sequence[Finding], likelihoods: Sequence[Finding], rows: Sequence[Row]
) -> Table:
    """Each claim with its control, the paired difference and the verdict by both measures."""
    lines = []
    for index, finding in enumerate(ratings):
        cells = [finding.claim.statement, contrast(finding, rows), *_cells(finding, RATING_DIGITS)]
        if likelihoods:
            cells += _cells(likelihoods[index], DIGITS)
        lines.append(cells)
    columns = ["Claim of the paper", "ours", "rating", "95% interval", "verdict"]
    columns += ["NLL/byte", "95% interval", "verdict"] if likelihoods else []
    return Table("Claims and controls", columns, {"": lines}, claim_notes(ratings, rows), left=2)


def _cells(finding: Finding, digits: int) -> list[str]:
    if finding.result is None:
        return ["–", "–", finding.verdict]
    result = finding.result
    interval = span(result.low, result.high, digits, signed=True)
    return [fixed(result.difference, digits, signed=True), interval, finding.verdict]


def claim_notes(ratings: Sequence[Finding], rows: Sequence[Row]) -> list[str]:
    """How a verdict comes about, and the family of the correction."""
    pairs = {(f.claim.row, control) for f in ratings for control in f.claim.controls}
    notes = [
        "The claims are the paper's, the verdicts ours: supported or contradicted where the "
        f"difference is significant (Holm-corrected over these {len(pairs)} comparisons for each "
        "of both measures), otherwise not resolvable. Intervals: 95%, uncorrected. Lower NLL is "
        "better. Where a claim has several controls it must beat them all; the hardest is shown."
    ]
    lacking = [f.claim.statement for f in ratings if f.verdict == CONTROL_MISSING]
    if lacking:
        notes.append(f"This run has no control for: {'; '.join(lacking)}.")
    return notes


def claim_records(
    measures: Mapping[str, Sequence[Finding]],
) -> list[dict[str, object]]:
    """One record for each claim and measure, at full precision."""
    records = []
    for measure, findings in measures.items():
        for finding in findings:
            record: dict[str, object] = {
                "claim": finding.claim.name,
                "measure": measure,
                "row": finding.claim.row,
                "control": finding.control or "",
                "controls": ",".join(finding.claim.controls),
                "verdict": finding.verdict,
            }
            record |= vars(finding.result) if finding.result else {}
            records.append(record)
    return records


def claim_lines(
    ratings: Sequence[Finding], likelihoods: Sequence[Finding], rows: Sequence[Row]
) -> str:
    """The page's first lines as HTML: a claim once, and below it each control and verdict."""
    measured: Sequence[Finding | None] = likelihoods or [None] * len(ratings)
    lines: dict[str, list[str]] = {}
    for rating, likelihood in zip(ratings, measured, strict=True):
        words = [("rating", rating)] + ([("NLL", likelihood)] if likelihood else [])
        verdicts = "".join(
            f'<span class="verdict">{name}: {MARKS[one.verdict]} {one.verdict}</span>'
            for name, one in words
        )
        line = f"<div><span>{html.escape(contrast(rating, rows))}</span> {verdicts}</div>"
        lines.setdefault(rating.claim.statement, []).append(line)
    items = (
        f"<li><b>{html.escape(claim)}</b> {''.join(each)}</li>" for claim, each in lines.items()
    )
    return f'<ol class="claims">{"".join(items)}</ol>'


def claim_words(measures: Mapping[str, Sequence[Finding]], rows: Sequence[Row]) -> str:
    """What the figure of the claims shows, in words: what is settled by name, the rest counted."""
    parts = []
    for measure, findings in measures.items():
        words = []
        for verdict in MARKS:
            named = [contrast(f, rows) for f in findings if f.verdict == verdict]
            if named and verdict in (SUPPORTED, CONTRADICTED):
                words.append(f"{verdict}: {', '.join(named)}")
            elif named:
                words.append(f"{len(named)} {verdict}")
        parts.append(f"{MEASURES[measure]}: {'; '.join(words)}.")
    return " ".join(["Paired differences of each claim from its control.", *parts])
