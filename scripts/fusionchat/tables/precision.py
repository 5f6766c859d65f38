"""How far the scores can be trusted: noise, power, and controls that must tie."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from fusionchat.scores.benchmark import Benchmark
from fusionchat.scores.comparisons import Comparison, compare
from fusionchat.scores.equal_changes import EqualChanges
from fusionchat.scores.statistics import stratified_mean
from fusionchat.scores.variance import (
    Parts,
    mean_parts,
    questions_needed,
    repeats_needed,
    variance_parts,
)
from fusionchat.tables.table import Table, fixed
from fusionchat.tables.views import Findings, comparison_cells, grouped, short_label

MANY = 1_000_000
NOT_MEASURABLE = "not measurable"
TRAINING_NOTE = (
    "training: of the Average, from seed to seed, beyond what questions and answers explain; root "
    "mean square over the models with several seeds."
)
UNSEEN_TRAINING = "One training seed each: the noise of training cannot be measured."


@dataclass(frozen=True)
class Control:
    """Two names of what must score the same, why, and how they came out."""

    first: str
    second: str
    why: str
    result: Comparison


def precision_table(findings: Findings) -> Table | None:
    """What it would take to see each row's observed difference from the baseline."""
    if not findings.against_baseline:
        return None
    benchmark = findings.benchmark
    cells = {}
    for name, result in findings.against_baseline.items():
        cells[name] = [
            fixed(result.difference, signed=True),
            fixed(result.detectable),
            *(quantity(value) for value in needed(findings, name)),
        ]
    title = f"What it takes to see a difference from {findings.baseline.label}"
    columns = ["Model", f"− {short_label(findings.baseline.label)}", "detectable"]
    columns += ["questions needed", "repeats needed"]
    notes = [
        "detectable: the true difference found with 80% power at 5%, uncorrected, with these "
        f"{len(benchmark.strata)} questions. Needed, to find a difference of the observed "
        "size with that power: questions in all, or repeats (answers, or judgments where answers "
        "do not vary) of these questions."
    ]
    return Table(title, columns, grouped(findings.rows, cells), notes)


def needed(findings: Findings, name: str) -> tuple[float, float]:
    """Questions, and repeats of these questions, that would find the observed difference."""
    benchmark, result = findings.benchmark, findings.against_baseline[name]
    one, other = benchmark.paired(name, findings.baseline.name)
    parts = variance_parts(benchmark.over_turns((one - other).mean(axis=0)), benchmark.strata)
    share = (result.training_error / result.error) ** 2
    difference, detectable = result.difference, result.detectable
    questions = questions_needed(difference, detectable, len(benchmark.strata), share)
    error = result.error * math.sqrt(1 - share) if share < 1 else 0.0
    return questions, repeats_needed(difference, parts, error, result.training_error)


def quantity(value: float) -> str:
    """A needed number: rounded up, or in words."""
    if math.isnan(value):
        return NOT_MEASURABLE
    if math.isinf(value):
        return "no number"
    return f"over {MANY:,}" if value > MANY else f"{math.ceil(value - 1e-9):,}"


def noise_parts(benchmark: Benchmark, name: str) -> Parts:
    """The variance parts of a question's score by one checkpoint, averaged over its seeds."""
    scores = benchmark.all_scores(name)
    return mean_parts(
        [variance_parts(one, benchmark.strata) for one in benchmark.over_turns(scores)]
    )


def training_deviation(benchmark: Benchmark, name: str) -> float:
    """Standard deviation of a model's Average over its training seeds; NaN for a single one.

    What questions and answers add to the spread of the seeds' Averages is taken off it.
    """
    values = benchmark.question_means(name)
    if values.shape[1] == 1:
        return math.nan
    estimate = stratified_mean(values[:, :, None], benchmark.strata)
    return float(estimate.training_error[0]) * math.sqrt(values.shape[1])


def noise_table(findings: Findings) -> Table:
    """Standard deviation and share of variance of question, answer and judgment."""
    parts = mean_parts([noise_parts(findings.benchmark, row.name) for row in findings.rows])
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
    lines += _training_line(findings)
    notes.append(TRAINING_NOTE if lines[-1][0] == "training" else UNSEEN_TRAINING)
    return Table("Where the noise comes from", ["part", "sd", "variance"], {"": lines}, notes)


def _training_line(findings: Findings) -> list[list[str]]:
    every = [training_deviation(findings.benchmark, row.name) for row in findings.rows]
    known = [value**2 for value in every if not math.isnan(value)]
    if not known:
        return []
    return [["training", fixed(math.sqrt(sum(known) / len(known)), 3), "–"]]


def null_controls(findings: Findings, pairs: Sequence[tuple[str, str, str]]) -> list[Control]:
    """Pairs that must tie, given as (name, name, why), and the baseline judged twice."""
    controls = [
        Control(first, second, why, compare(findings.benchmark.column, [first], second)[first])
        for first, second, why in pairs
    ]
    scores = findings.benchmark.all_scores(findings.baseline.name)
    if scores.shape[-1] > 1:
        halves = {str(i): scores[..., i : i + 1] for i in (0, 1)}
        seeds = dict.fromkeys(halves, findings.benchmark.seeds[findings.baseline.name])
        benchmark = dataclasses.replace(findings.benchmark, scores=halves, seeds=seeds)
        name, result = findings.baseline.name, compare(benchmark.column, ["0"], "1")["0"]
        controls.append(Control(name, name, "same answers judged twice", result))
    return controls


def null_table(
    findings: Findings, controls: Sequence[Control], equal: EqualChanges | None = None
) -> Table | None:
    """The controls: their differences show the noise of the benchmark, or a fault."""
    lines = [
        [
            f"{findings.label(control.first)} − {findings.label(control.second)}",
            control.why,
            *comparison_cells(control.result)[:2],
        ]
        for control in controls
    ]
    notes = ["Each line compares a model with itself in another guise; the true difference is 0."]
    if equal is not None:
        why = "equal changes: uniform weights"
        name = f"VaRM of {findings.label(equal.target)}, twice"
        lines.append([name, why, f"{equal.deviation:.2g}", "–"])
        notes.append(f"VaRM's is the largest distance of {equal.units} matrices' weights from 1/2.")
    if not lines:
        return None
    columns = ["Pair", "why they must tie", "difference", "95% interval"]
    return Table("Null controls", columns, {"": lines}, notes, left=2)


def precision_record(
    findings: Findings, controls: Sequence[Control], equal: EqualChanges | None, name: str
) -> dict[str, object]:
    """A row's columns of the csv file: noise, what is needed, and the controls that it opens."""
    parts = noise_parts(findings.benchmark, name)
    noise = {"question": parts.question, "answer": parts.answer, "judge": parts.judge}
    record: dict[str, object] = {f"variance_{part}": value for part, value in noise.items()}
    record["training_deviation"] = training_deviation(findings.benchmark, name)
    if name in findings.against_baseline:
        questions, repeats = needed(findings, name)
        record |= {"questions_needed": questions, "repeats_needed": repeats}
    if equal is not None and equal.target == name:
        record["varm_twice_deviation"] = equal.deviation
    for control in controls:
        if control.first == name:
            key, result = f"minus_{control.second}", control.result
            record |= {key: result.difference, f"{key}_low": result.low, f"{key}_high": result.high}
    return record
