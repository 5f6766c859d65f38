"""The page's first lines: the question and what these numbers allow to say about it."""

import html
import math
from collections.abc import Sequence

from fusionchat.scores.claims import Claim, by_likelihood, by_ratings
from fusionchat.scores.comparisons import Comparison
from fusionchat.scores.rows import Row
from fusionchat.scores.verdicts import SIGNIFICANT
from fusionchat.tables.claims import claim_lines
from fusionchat.tables.likelihood import Likelihoods, likelihood_sentence
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


def claims(claims: Sequence[Claim], found: Findings, likelihoods: Likelihoods) -> str:
    """Claim, control and verdict, a line each; empty without claims."""
    if not claims:
        return ""
    measured = by_likelihood(claims, likelihoods) if likelihoods else []
    return claim_lines(by_ratings(claims, found.benchmark), measured, found.rows)


def summary(found: Findings, subject: Row, likelihoods: Likelihoods) -> str:
    """A sentence each on CLM, the best target, other merges, and likelihood."""
    lines = [_against_baseline(found, subject), _against_target(found, subject)]
    lines += [_among_merges(found, subject)]
    lines += [likelihood_sentence(likelihoods, subject, found.baseline), _caution(found)]
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


def _against_baseline(found: Findings, subject: Row) -> str:
    result = found.against_baseline.get(subject.name)
    if result is None:
        return ""
    score, base = (found.scores[row.name][AVERAGE].mean for row in (subject, found.baseline))
    return (
        f"{subject.label} scores {fixed(score)} and {found.baseline.label} {fixed(base)}: "
        f"difference {settled(result)}."
    )


def _p(p: float) -> str:
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def _against_target(found: Findings, subject: Row) -> str:
    result = found.against_best.get(subject.name)
    if result is None or found.best_target is None:
        return ""
    return f"Against the best single target, {found.best_target.label}: {settled(result)}."


def _among_merges(found: Findings, subject: Row) -> str:
    """How far apart the merges are, beside the difference that could be detected."""
    merged = [row for row in found.rows if row.group == "Fused"]
    means = {row.label: found.scores[row.name][AVERAGE].mean for row in merged}
    if len(means) < 2 or subject.name not in found.against_baseline:
        return ""
    best, worst = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    detectable = found.against_baseline[subject.name].detectable
    return (
        f"The merges lie between {fixed(means[worst])} ({worst}) and {fixed(means[best])} "
        f"({best}); with these questions a paired difference of about {fixed(detectable)} would be "
        "found with 80% power."
    )


def _caution(found: Findings) -> str:
    return f"Judge: {judge_name(found)}. All intervals are over questions or dialogues. " + (
        seed_statement(found)
    )
