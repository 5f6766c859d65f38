"""Logistic regression with an L1 penalty as liblinear solves it, and as far.

AlpacaEval chooses the strength of its penalty among fits that stop early. Where two strengths
predict alike to the sixth digit, the choice hangs on where their fits stopped, and fits to the
very minimum can choose the other. So this is newGLMNET (Yuan, Ho and Lin, 2012) with liblinear's
constants and scikit-learn's random numbers: Newton steps, each the minimum of a quadratic model
found by coordinate descent in random order, and halved until the objective falls enough.
"""

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

TOLERANCE = 1e-4  # of the first violation of optimality; scikit-learn's default
NEWTON_STEPS = 100  # at most, as the following two
ROUNDS = 1000
HALVINGS = 20
RIDGE = 1e-12
LONGEST, SHORTEST = 10.0, 1e-12  # steps of one term
SUFFICIENT = 0.01  # share of the promised fall that a step has to keep


@dataclass(frozen=True)
class Data:
    """Features [N, K], targets in [0, 1] [N] and weights [N]."""

    features: np.ndarray
    targets: np.ndarray
    weights: np.ndarray

    def part(self, chosen: np.ndarray) -> "Data":
        """The chosen rows."""
        return Data(self.features[chosen], self.targets[chosen], self.weights[chosen])


def losses(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Cross-entropy of the predictions sigmoid(scores)."""
    return np.asarray(np.logaddexp(0.0, scores) - targets * scores)


def fit(data: Data, strength: float, seed: int, tolerance: float = TOLERANCE) -> np.ndarray:
    """Weights [K] that about minimise |w|_1 + strength * weighted cross-entropy.

    liblinear sees a row of target t twice: won with weight t, lost with 1 - t.
    """
    costs = strength * data.weights
    won = int(np.count_nonzero(data.weights * data.targets))
    lost = int(np.count_nonzero(data.weights * (1 - data.targets)))
    stop = tolerance * max(min(won, lost), 1) / (won + lost)
    order = _Order(data.features.shape[1], seed, won + lost)
    w, scores = np.zeros(data.features.shape[1]), np.zeros(len(data.targets))
    first, accuracy, limit = 0.0, 1.0, math.inf
    for _ in range(NEWTON_STEPS):
        chance = expit(scores)
        slope = data.features.T @ (costs * (chance - data.targets))
        violated = order.violations(w, slope, limit)
        first = first or sum(violated)
        if sum(violated) <= stop * first:
            break
        spread = (costs * chance * (1 - chance))[:, None]
        curvature = data.features.T @ (data.features * spread) + RIDGE * np.eye(len(w))
        goal, rounds = _lowest(w, slope, curvature, order, accuracy * first)
        promised = slope @ (goal - w) + np.abs(goal).sum() - np.abs(w).sum()
        w, scores = _stepped(data, costs, w, scores, goal - w, promised)
        accuracy, limit = accuracy / (4 if rounds == 1 else 1), max(violated)
    return w


class _Order:
    """The terms in the order of their turns; the last, from `kept` on, stay at zero."""

    def __init__(self, terms: int, seed: int, rows: int) -> None:
        self.kept = terms
        self._terms = list(range(terms))
        self._rows = rows
        self._draws = _draws(seed)

    def turns(
        self, w: Sequence[float], slope: Callable[[int], float], limit: float
    ) -> Iterator[tuple[int, float]]:
        """Each kept term and its slope; one that the penalty clearly holds at zero is set aside."""
        place = 0
        while place < self.kept:
            term = self._terms[place]
            here = slope(term)
            if w[term] == 0 and abs(here) < 1 - limit / self._rows:
                self.kept -= 1
                self._swap(place, self.kept)
            else:
                yield term, here
                place += 1

    def violations(self, w: np.ndarray, slope: np.ndarray, limit: float) -> list[float]:
        """By how much each term that is kept violates the conditions of the minimum."""
        self.kept = len(self._terms)
        weights, slopes = w.tolist(), slope.tolist()
        turns = self.turns(weights, slopes.__getitem__, limit)
        return [_violation(weights[term], here) for term, here in turns]

    def shuffle(self) -> None:
        """Draw a new order of the kept terms."""
        for place in range(self.kept):
            self._swap(place, place + (next(self._draws) * (self.kept - place) >> 32))

    def _swap(self, one: int, other: int) -> None:
        terms = self._terms
        terms[one], terms[other] = terms[other], terms[one]


def _draws(seed: int) -> Iterator[int]:
    """The 32 bit numbers of a Mersenne twister."""
    random = np.random.RandomState(seed)
    while True:
        yield from random.randint(0, 2**32, 256, np.uint32).tolist()


def _violation(weight: float, slope: float) -> float:
    return abs(slope + math.copysign(1.0, weight)) if weight else max(abs(slope) - 1.0, 0.0)


def _lowest(
    w: np.ndarray, slope: np.ndarray, curvature: np.ndarray, order: _Order, accuracy: float
) -> tuple[np.ndarray, int]:
    """Where the quadratic model and the penalty are lowest, and the rounds that it took."""
    goal, slopes, rows = w.tolist(), slope.tolist(), curvature.tolist()
    move, kept, limit = [0.0] * len(w), order.kept, math.inf

    def here(term: int) -> float:
        return float(slopes[term] + sum(map(operator.mul, rows[term], move)))

    for rounds in range(1, ROUNDS + 1):
        order.shuffle()
        violated = [0.0]
        for term, at in order.turns(goal, here, limit):
            violated.append(_violation(goal[term], at))
            pull = rows[term][term] * goal[term] - at
            best = math.copysign(max(abs(pull) - 1.0, 0.0), pull) / rows[term][term]
            step = min(max(best - goal[term], -LONGEST), LONGEST)
            if abs(step) >= SHORTEST:
                goal[term] += step
                move[term] += step
        limit = max(violated)
        if sum(violated) <= accuracy:
            if order.kept == kept:
                return np.array(goal), rounds
            order.kept, limit = kept, math.inf
    return np.array(goal), ROUNDS


def _stepped(
    data: Data,
    costs: np.ndarray,
    w: np.ndarray,
    scores: np.ndarray,
    step: np.ndarray,
    promised: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Weights and scores after the longest half, quarter, ... of the step that falls enough."""
    for share in 0.5 ** np.arange(HALVINGS):
        moved = scores + share * (data.features @ step)
        change = costs @ (losses(moved, data.targets) - losses(scores, data.targets))
        change += np.abs(w + share * step).sum() - np.abs(w).sum()
        if change <= SUFFICIENT * share * promised:
            return w + share * step, moved
    return w, scores
