"""How far the scores can be trusted: noise, power, and controls that must tie."""

import math
from collections.abc import Sequence

from fusionchat.report.benchmark import Benchmark
from fusionchat.report.comparisons import compare
from fusionchat.report.tables import Table, fixed
from fusionchat.report.variance import (
    Parts,
    mean_parts,
    questions_needed,
    repeats_needed,
    variance_parts,
)
from fusionchat.report.views import Findings, comparison_cells, grouped, short_label

MANY = 1_000_000
NOT_MEASURABLE = "not measurable"


def precision_table(found: Findings) -> Table | None:
    """What it would take to see each row's observed difference from the baseline."""
    if not found.against_baseline:
        return None
    benchmark = found.benchmark
    base = benchmark.scores[found.baseline.name]
    cells = {}
    for name, result in found.against_baseline.items():
        parts = variance_parts(benchmark.scores[name] - base, benchmark.strata)
        questions = questions_needed(result.difference, result.detectable, len(benchmark.strata))
        cells[name] = [
            fixed(result.difference, signed=True),
            fixed(result.detectable),
            quantity(questions),
            quantity(repeats_needed(result.difference, parts, result.error)),
        ]
    title = f"What it takes to see a difference from {found.baseline.label}"
    columns = ["Model", f"− {short_label(found.baseline.label)}", "detectable"]
    columns += ["questions needed", "repeats needed"]
    notes = [
        "detectable: the true difference found with 80% power at 5%, uncorrected, with these "
        f"{len(benchmark.strata)} questions. Needed, to find a difference of the observed "
        "size with that power: questions in all, or repeats (answers, or judgments where answers "
        "do not vary) of these questions."
    ]
    return Table(title, columns, grouped(found.rows, cells), notes)


def quantity(value: float) -> str:
    """A needed number: rounded up, or in words."""
    if math.isnan(value):
        return NOT_MEASURABLE
    if math.isinf(value):
        return "no number"
    return f"over {MANY:,}" if value > MANY else f"{math.ceil(value - 1e-9):,}"


def noise_parts(found: Findings) -> Parts:
    """The variance parts of a question's score, averaged over the rows."""
    scores, strata = found.benchmark.scores, found.benchmark.strata
    return mean_parts([variance_parts(scores[row.name], strata) for row in found.rows])


def noise_table(found: Findings) -> Table:
    """Standard deviation and share of variance of question, answer and judgment."""
    parts = noise_parts(found)
    total = sum(v for v in (parts.question, parts.answer, parts.judge) if not math.isnan(v))
    lines = []
    for name in ("question", "answer", "judge"):
        value = getattr(parts, name)
        if math.isnan(value):
            lines.append([name, NOT_MEASURABLE, "–"])
        else:
            share = 100 * value / total if total else math.nan
            lines.append([name, fixed(math.sqrt(value)), fixed(share, 0) + "%"])
    notes = ["Of a question's score (mean of its turns) within its category, mean over the models."]
    if math.isnan(parts.answer):
        notes.append("One answer to each question: the noise of answers is in the first line.")
    if math.isnan(parts.judge):
        why = "one judgment of each answer" if parts.repeats == 1 else "the judge never varied"
        notes.append(f"The judge's own noise cannot be measured: {why}. That is not zero noise.")
    return Table("Where the noise comes from", ["part", "sd", "variance"], {"": lines}, notes)


def null_table(found: Findings, pairs: Sequence[tuple[str, str, str]]) -> Table | None:
    """Pairs that must tie: (name, name, why). Their differences show the noise of the benchmark."""
    lines = []
    for first, second, reason in pairs:
        result = compare(found.benchmark, [first], second)[first]
        lines.append(
            [f"{found.label(first)} − {found.label(second)}", reason, *comparison_cells(result)[:2]]
        )
    lines += repeat_controls(found)
    if not lines:
        return None
    notes = ["Each line compares a model with itself in another guise; the true difference is 0."]
    columns = ["Pair", "why they must tie", "difference", "95% interval"]
    return Table("Null controls", columns, {"": lines}, notes, left=2)


def repeat_controls(found: Findings) -> list[list[str]]:
    """The baseline judged twice: its first repeat against its second, where there are two."""
    scores = found.benchmark.scores[found.baseline.name]
    if scores.shape[3] < 2:
        return []
    halves = {str(i): scores[..., i : i + 1] for i in (0, 1)}
    benchmark = Benchmark(**{**vars(found.benchmark), "scores": halves})
    result = compare(benchmark, ["0"], "1")["0"]
    name = found.baseline.label
    return [[f"{name} − {name}", "same answers judged twice", *comparison_cells(result)[:2]]]
