"""What may be concluded from a difference, in one word."""

import math

TOLERANCE = 0.2
SIGNIFICANT = 0.05
AGREES = "agrees"
DIFFERS = "differs"
NOT_RESOLVABLE = "not resolvable"
OTHER_JUDGE = "other judge"
NO_PAPER = "not in the paper"


def against_paper(
    low: float, high: float, paper: float, *, same_judge: bool, tolerance: float = TOLERANCE
) -> str:
    """Verdict on our interval [low, high] of a difference beside the paper's difference.

    `agrees` when the whole interval lies within `tolerance` of the paper's value, `differs` when
    none of it does, and `not resolvable` in between or without an interval. Scores of another judge
    are on another scale and are not compared.
    """
    if not math.isfinite(paper):
        return NO_PAPER
    if not same_judge:
        return OTHER_JUDGE
    if not (math.isfinite(low) and math.isfinite(high)):
        return NOT_RESOLVABLE
    if paper - tolerance <= low and high <= paper + tolerance:
        return AGREES
    if high < paper - tolerance or low > paper + tolerance:
        return DIFFERS
    return NOT_RESOLVABLE


def sign(difference: float, p: float) -> str:
    """The sign of a difference that a corrected p-value settles: `+`, `−`, or `?` for none."""
    if not p < SIGNIFICANT:
        return "?"
    return "+" if difference > 0 else "−"


def plain_sign(value: float) -> str:
    """The sign of a number printed in the paper, which has no interval."""
    if not math.isfinite(value):
        return "–"
    return "0" if abs(value) < 1e-9 else "+" if value > 0 else "−"
