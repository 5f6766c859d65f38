"""The paper's claims, the control that each must beat, and the verdict of a run's numbers.

A claim is supported only by a significant gain over its control: fusion over the pivot that teaches
itself, a weighted merge over a plain mean. All pairs of a call are one family of Holm's correction.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fusionchat.scores.comparisons import Comparison, compare_pairs
from fusionchat.scores.metrics import Column, Metric
from fusionchat.scores.rows import Row, find_row
from fusionchat.scores.verdicts import SIGNIFICANT

SUPPORTED = "supported"
CONTRADICTED = "contradicted"
NOT_RESOLVABLE = "not resolvable"
CONTROL_MISSING = "control missing"

STATEMENTS = {
    "fusion": "Fusion improves on fine-tuning with the same data",
    "knowledge": "Fusion brings knowledge of other LLMs, not only smoother labels",
    "pairwise": "Pairwise fusion and merging improve on fusing all sources at once",
    "weights": "Weights by parameter change improve on a plain mean",
    "merging": "Merging improves on the best single target",
    "averaging": "Merging fused targets gives more than averaging two plain trainings",
}

Pair = tuple[str, str]


@dataclass(frozen=True)
class Claim:
    """Which row stands for a claim and which controls it must beat: all of them, or it fails."""

    name: str
    row: str
    controls: tuple[str, ...]

    @property
    def statement(self) -> str:
        """The claim in words."""
        return STATEMENTS[self.name]


@dataclass(frozen=True)
class Finding:
    """A claim's verdict by one measure, and the comparison with its hardest control."""

    claim: Claim
    control: str | None
    result: Comparison | None
    verdict: str


Measures = Mapping[Metric, Sequence[Finding]]  # the verdicts by each metric, ratings first


def claim_argument(text: str) -> Claim:
    """An argparse type: `CLAIM:ROW:CONTROL[,CONTROL...]`; the run may lack the CONTROL."""
    parts = text.split(":")
    if len(parts) != 3 or parts[0] not in STATEMENTS or not parts[1]:
        known = ", ".join(STATEMENTS)
        raise argparse.ArgumentTypeError(f"{text!r} is not CLAIM:ROW:CONTROL; CLAIM is of {known}")
    name, row, controls = parts
    return Claim(name, row, tuple(control for control in controls.split(",") if control))


def add_claims(parser: argparse.ArgumentParser) -> None:
    """Add `--claim`, which says what stands for each claim; nothing is guessed from names."""
    parser.add_argument(
        "--claim",
        dest="claims",
        type=claim_argument,
        action="append",
        default=[],
        metavar="CLAIM:ROW:CONTROL[,CONTROL...]",
        help=f"a row and what it must beat, nothing behind the last colon where the run lacks it; "
        f"repeat. CLAIM is {', '.join(STATEMENTS)}",
    )


def check_claims(claims: Sequence[Claim], rows: Sequence[Row]) -> None:
    """Refuse a claim that names a model without a row."""
    for claim in claims:
        for name in (claim.row, *claim.controls):
            find_row(rows, name, "--claim")


def pairs(claims: Sequence[Claim]) -> list[Pair]:
    """Every row and control that are compared, once each: the family of Holm's correction."""
    return list(dict.fromkeys((c.row, control) for c in claims for control in c.controls))


def by_metric(claims: Sequence[Claim], column: Column) -> list[Finding]:
    """The verdicts by one metric, in its direction; models without values of it have no control."""
    family = {pair: pair for pair in pairs(claims) if all(name in column.models for name in pair)}
    results = compare_pairs(column, family)
    return [find(claim, results, column.metric.better) for claim in claims]


def find(claim: Claim, comparisons: Mapping[Pair, Comparison], better: int) -> Finding:
    """One claim's verdict; `better` is the sign of a difference in its favour.

    Supported by a significant gain over every control, contradicted by a significant loss to one.
    """
    results = {
        c: comparisons[claim.row, c] for c in claim.controls if (claim.row, c) in comparisons
    }
    if not claim.controls or len(results) < len(claim.controls):
        return Finding(claim, None, None, CONTROL_MISSING)
    gains = {control: better * result.difference for control, result in results.items()}
    hardest = min(gains, key=gains.__getitem__)
    signs = [_sign(better * result.difference, result.p_holm) for result in results.values()]
    verdict = NOT_RESOLVABLE
    if min(signs) < 0:
        verdict = CONTRADICTED
    elif min(signs) > 0:
        verdict = SUPPORTED
    return Finding(claim, hardest, results[hardest], verdict)


def _sign(gain: float, p: float) -> int:
    if not p < SIGNIFICANT:
        return 0
    return int(math.copysign(1, gain))
