"""Where the noise of a benchmark comes from, and what it takes to see a difference.

A question's score (mean of its turns) is category mean + question + answer + judgment: questions
differ, answers to one question differ (choices), judgments of one answer differ (repeats).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fusionchat.scores.statistics import LEVEL

POWER = 0.8
NEVER = math.inf


@dataclass(frozen=True)
class Parts:
    """Variance of question, answer and judgment; NaN where the design cannot measure it.

    Without several choices the answer's part is in `question`; without repeats (or with a judge
    that never varies) the judgment's part is in the part above it. `choices` and `repeats` are the
    design that was observed.
    """

    question: float
    answer: float
    judge: float
    choices: int
    repeats: int


def variance_parts(scores: np.ndarray, strata: np.ndarray) -> Parts:
    """Split the variance of one model's (or one difference's) scores [Q, choices, repeats].

    Nested analysis of variance within categories; incomplete questions are left out; estimates
    below zero are zero.
    """
    complete = np.isfinite(scores).all(axis=(1, 2))
    values, strata = scores[complete], strata[complete]
    choices, repeats = values.shape[1:]
    varied = values.size > 0 and np.ptp(values, axis=2).any()
    judge = _pooled(values) if varied else math.nan
    by_answer = values.mean(axis=2)
    noise = 0.0 if math.isnan(judge) else judge / repeats
    answer = max(0.0, _pooled(by_answer) - noise) if choices > 1 else math.nan
    noise = noise / choices + (0.0 if math.isnan(answer) else answer / choices)
    question = max(0.0, within_strata(by_answer.mean(axis=1), strata) - noise)
    return Parts(question, answer, judge, choices, repeats)


def _pooled(values: np.ndarray) -> float:
    """Mean sample variance along the last axis."""
    return float(values.var(axis=-1, ddof=1).mean())


def within_strata(values: np.ndarray, strata: np.ndarray) -> float:
    """Mean of the categories' sample variances of `values` [Q]; NaN where none has two values."""
    groups = [values[strata == s] for s in np.unique(strata)]
    variances = [group.var(ddof=1) for group in groups if len(group) > 1]
    return float(np.mean(variances)) if variances else math.nan


def mean_parts(parts: list[Parts]) -> Parts:
    """The average of several models' parts; a part that no model measures stays NaN."""

    def average(values: Iterable[float]) -> float:
        known = [value for value in values if not math.isnan(value)]
        return sum(known) / len(known) if known else math.nan

    return Parts(
        average(part.question for part in parts),
        average(part.answer for part in parts),
        average(part.judge for part in parts),
        parts[0].choices,
        parts[0].repeats,
    )


def questions_needed(
    difference: float, detectable: float, questions: int, training_share: float = 0.0
) -> float:
    """Questions that would find a true difference of this size with 80% power.

    The detectable difference shrinks with the square root of their number, but for the share of
    its square that is training's; infinite for no difference, or one below that share.
    """
    if not (math.isfinite(difference) and math.isfinite(detectable)):
        return math.nan
    room = difference**2 - training_share * detectable**2
    return questions * (1 - training_share) * detectable**2 / room if room > 0 else NEVER


def repeats_needed(
    difference: float, parts: Parts, error: float, training_error: float = 0.0
) -> float:
    """Repeats of each question that would find a difference of this size with 80% power.

    `parts` are those of the paired difference, `error` the standard error of its questions and
    `training_error` that of training, which no repeat lowers. A repeat is a fresh
    answer, judged as often as now; where answers do not vary by design, a fresh judgment. NaN where
    neither has measured noise, infinite where the spread between questions alone is too wide.
    """
    from scipy.special import ndtri

    if math.isnan(parts.answer):
        single, observed = parts.judge, parts.repeats
    else:
        noise = 0.0 if math.isnan(parts.judge) else parts.judge / parts.repeats
        single, observed = parts.answer + noise, parts.choices
    if math.isnan(single) or single == 0 or not math.isfinite(error):
        return math.nan
    target = abs(difference) / (ndtri((1 + LEVEL) / 2) + ndtri(POWER))
    questions = (parts.question + single / observed) / error**2
    room = (target**2 - training_error**2) * questions - parts.question
    return max(1.0, math.ceil(single / room)) if room > 0 else NEVER
