"""The merged model against models that it was not made to beat: source LLMs and compared ones."""

import math
from collections.abc import Mapping

from fusionchat.scores.comparisons import Comparison, compare_pairs
from fusionchat.scores.rows import Row
from fusionchat.scores.verdicts import SIGNIFICANT, TOLERANCE
from fusionchat.tables.table import Table
from fusionchat.tables.views import Findings, comparison_cells, grouped

OTHERS = ("Comparison", "Source")


def against_others(findings: Findings, subject: Row) -> dict[str, Comparison]:
    """The subject minus each compared model and source LLM, a family of Holm's of its own."""
    others = [row.name for row in findings.rows if row.group in OTHERS and row.name != subject.name]
    return compare_pairs(findings.benchmark.column, {name: (subject.name, name) for name in others})


def others_table(
    findings: Findings, subject: Row, results: Mapping[str, Comparison]
) -> Table | None:
    """Difference, interval, p and a verdict for each of them."""
    if not results:
        return None
    cells = {name: [*comparison_cells(one), standing(one)] for name, one in results.items()}
    notes = [
        f"{subject.label} minus each model, paired by question. p: Holm-corrected over these "
        f"{len(results)}. higher, lower: significant; level: the interval lies within "
        f"±{TOLERANCE}, which is what approaching a model means; otherwise not resolvable."
    ]
    columns = ["Model", f"{subject.label} minus it", "95% interval", "p", "verdict"]
    return Table(
        f"{subject.label} beside other models", columns, grouped(findings.rows, cells), notes
    )


def standing(result: Comparison) -> str:
    """Where the first model of a comparison stands, in a word."""
    if math.isfinite(result.low) and result.low >= -TOLERANCE and result.high <= TOLERANCE:
        return "level"
    if result.p_holm < SIGNIFICANT:
        return "higher" if result.difference > 0 else "lower"
    return "not resolvable"
