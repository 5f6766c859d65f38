"""The page's first lines: the question and what these numbers allow to say about it."""

import html
import math
from collections.abc import Sequence

from fusionchat.scores.claims import Claim, by_metric
from fusionchat.scores.comparisons import Comparison
from fusionchat.scores.metrics import Column
from fusionchat.scores.rows import Row
from fusionchat.scores.verdicts import SIGNIFICANT
from fusionchat.tables.claims import claim_lines
from fusionchat.tables.metrics import metric_sentence
from fusionchat.tables.table import fixed, span
from fusionchat.tables.views import AVERAGE, Findings, judge_name, p_value, seed_statement


def question(subject: Row, baseline: Row) -> str:
    """What the page is about."""
    text = (
        "Does it help to fuse several chat LLMs pairwise into one pivot and to merge the resulting "
        f"targets in weight space ({subject.label}), beyond fine-tuning the pivot on the same data "
        f"({baseline.label})?"
    )
    return f'<p class="lead">{html.escape(text)}</p>'


def claims(claims: Sequence[Claim], findings: Findings, columns: Sequence[Column]) -> str:
    """Claim, control and verdict, a line each; empty without claims."""
    if not claims:
        return ""
    measures = {one.metric: by_metric(claims, one) for one in (findings.benchmark.column, *columns)}
    return claim_lines(measures, findings.rows)


def summary(findings: Findings, subject: Row, columns: Sequence[Column]) -> str:
    """A sentence each on CLM, the best target, other merges, and every other metric."""
    lines = [_against_baseline(findings, subject), _against_target(findings, subject)]
    lines += [_among_merges(findings, subject)]
    lines += [metric_sentence(column, subject, findings.baseline) for column in columns]
    lines += [_caution(findings)]
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines if line)
    return f'<ul class="findings">{items}</ul>'


def settled(result: Comparison) -> str:
    """A comparison as text: difference, interval, corrected p-value and what that settles."""
    interval = span(result.low, result.high, signed=True)
    numbers = f"{fixed(result.difference, signed=True)} (95% {interval}"
    numbers += f"; Holm-corrected p {_p(result.p_holm)})"
    if not math.isfinite(result.low) or result.low <= 0 <= result.high:
        return f"{numbers}, not resolvable with these questions"
    word = "higher" if result.low > 0 else "lower"
    if result.p_holm < SIGNIFICANT:
        return f"{numbers}, {word}"
    return f"{numbers}, {word} on its own but not after correction for the other comparisons"


def _against_baseline(findings: Findings, subject: Row) -> str:
    result = findings.against_baseline.get(subject.name)
    if result is None:
        return ""
    score, base = (findings.scores[row.name][AVERAGE].mean for row in (subject, findings.baseline))
    return (
        f"{subject.label} scores {fixed(score)} and {findings.baseline.label} {fixed(base)}: "
        f"difference {settled(result)}."
    )


def _p(p: float) -> str:
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def _against_target(findings: Findings, subject: Row) -> str:
    result = findings.against_best.get(subject.name)
    if result is None or findings.best_target is None:
        return ""
    return f"Against the best single target, {findings.best_target.label}: {settled(result)}."


def _among_merges(findings: Findings, subject: Row) -> str:
    """How far apart the merges are, beside the difference that could be detected."""
    merged = [row for row in findings.rows if row.group == "Fused"]
    means = {row.label: findings.scores[row.name][AVERAGE].mean for row in merged}
    if len(means) < 2 or subject.name not in findings.against_baseline:
        return ""
    best, worst = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    detectable = findings.against_baseline[subject.name].detectable
    return (
        f"The merges lie between {fixed(means[worst])} ({worst}) and {fixed(means[best])} "
        f"({best}); with these questions a paired difference of about {fixed(detectable)} would be "
        "found with 80% power."
    )


def _caution(findings: Findings) -> str:
    return f"Judge: {judge_name(findings)}. All intervals are over questions or dialogues. " + (
        seed_statement(findings)
    )
