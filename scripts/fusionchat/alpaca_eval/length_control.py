"""AlpacaEval 2's length-controlled win rate: a logistic model of what the judge prefers.

P(win) = sigmoid(a tanh(d) + b difficulty + c), where d is the difference in characters (baseline
minus model) in units of its standard deviation, and the difficulty of each question is published.
The win rate is the mean prediction for d = 0. As published, the fit also sees the baseline's own
verbose and concise variants, with weight 0.1 and without the term c, has an L1 penalty, and takes
the strength of it from five-fold cross-validation over questions.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import expit

from fusionchat.alpaca_eval.data import Gamed

GAMED_WEIGHT = 0.2 / 2  # two variants share the published weight
STRENGTHS = np.logspace(-4, 4, 10)
FOLDS = 5
_SIGNS = np.array(list(product((-1, 0, 1), repeat=3)))


@dataclass(frozen=True)
class _Data:
    """Features [N, 3], targets in [0, 1] [N] and weights [N]."""

    features: np.ndarray
    targets: np.ndarray
    weights: np.ndarray

    def part(self, chosen: np.ndarray) -> "_Data":
        return _Data(self.features[chosen], self.targets[chosen], self.weights[chosen])


def length_controlled(
    preference: np.ndarray, lengths: np.ndarray, difficulty: np.ndarray, gamed: Gamed
) -> np.ndarray:
    """Values [Q] of one model whose mean is its length-controlled win rate.

    `preference` [Q] in [0, 1] (NaN: no judgment), `lengths` [Q, 2] characters of the baseline's
    and the model's answer, `difficulty` [Q]. A value is the question's prediction and what its
    judgment did to the fit (linearised), so that their variance is that of the rate, refitted to
    other questions at the strength that was chosen. NaN where all lengths differ alike.
    """
    delta = lengths[:, 0] - lengths[:, 1]
    spread = float(np.std(delta, ddof=1)) if len(delta) > 1 else 0.0
    if not spread:
        return np.full(len(delta), np.nan)
    ours = np.column_stack([np.tanh(delta / spread), difficulty, np.ones(len(delta))])
    theirs = np.column_stack([gamed.length, gamed.difficulty, np.zeros(len(gamed.length))])
    judged = ~np.isnan(preference)
    data = _Data(
        np.vstack([theirs, ours[judged]]),
        np.concatenate([gamed.preference, preference[judged]]),
        np.concatenate([np.full(len(theirs), GAMED_WEIGHT), np.ones(int(judged.sum()))]),
    )
    strength = _choose(data)
    fitted = _fit(data, strength, np.zeros(3))
    level_field = ours * np.array([0.0, 1.0, 1.0])
    predicted = expit(level_field @ fitted)
    slope = (level_field * (predicted * (1 - predicted))[:, None]).mean(axis=0)
    influence = np.zeros(len(delta))
    influence[judged] = len(delta) * _steps(data, fitted)[len(theirs) :] @ slope
    return np.asarray(predicted + influence - influence.mean())


def _steps(data: _Data, fitted: np.ndarray) -> np.ndarray:
    """Where the fit goes as the weight of each datum grows [N, 3], by Newton's step.

    The strength cancels out; terms that the penalty has set to 0 stay there.
    """
    chance = expit(data.features @ fitted)
    active = np.abs(fitted) > 1e-9
    features = data.features[:, active]
    curvature = features.T @ (features * (data.weights * chance * (1 - chance))[:, None])
    steps = np.zeros_like(data.features)
    if active.any():
        slopes = features * (chance - data.targets)[:, None]
        steps[:, active] = -np.linalg.solve(curvature, slopes.T).T
    return steps


def _choose(data: _Data) -> float:
    """The strength whose fits predict the left-out folds best."""
    folds = np.arange(len(data.targets))[::-1] % FOLDS
    scores = np.zeros(len(STRENGTHS))
    for fold in range(FOLDS):
        start, left_out = np.zeros(3), data.part(folds == fold)
        for index, strength in enumerate(STRENGTHS):
            start = _fit(data.part(folds != fold), strength, start)
            losses = left_out.weights * _losses(left_out.features @ start, left_out.targets)
            scores[index] -= losses.mean()
    return float(STRENGTHS[np.argmax(scores)])


def _losses(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Cross-entropy of the predictions sigmoid(scores)."""
    return np.asarray(np.logaddexp(0.0, scores) - targets * scores)


def _fit(data: _Data, strength: float, start: np.ndarray) -> np.ndarray:
    """Minimise |w|_1 / strength + cross-entropy by Newton's steps, halved where they go too far."""
    penalty, fitted = 1.0 / strength, start

    def objective(w: np.ndarray) -> float:
        losses = _losses(data.features @ w, data.targets)
        return float(data.weights @ losses + penalty * np.abs(w).sum())

    for _ in range(100):
        chance = expit(data.features @ fitted)
        slope = data.features.T @ (data.weights * (chance - data.targets))
        spread = data.weights * np.maximum(chance * (1 - chance), 1e-12)
        curvature = data.features.T @ (data.features * spread[:, None]) + 1e-12 * np.eye(len(slope))
        step = _lowest(fitted, slope, curvature, penalty) - fitted
        most = objective(fitted) * (1 + 1e-12)  # what rounding adds is no ascent
        while objective(fitted + step) > most and np.abs(step).max() > 1e-12:
            step /= 2
        fitted = fitted + step
        if np.abs(step).max() < 1e-10:
            break
    return fitted


def _lowest(
    start: np.ndarray, slope: np.ndarray, curvature: np.ndarray, penalty: float
) -> np.ndarray:
    """Minimise slope (w - start) + (w - start) curvature (w - start) / 2 + penalty |w|_1.

    With three terms all patterns of signs can be tried; the lowest that has its signs is it.
    """
    found, lowest = start, np.inf
    for signs in _SIGNS:
        active, w = signs != 0, np.zeros(len(start))
        right = curvature @ start - slope - penalty * signs
        w[active] = np.linalg.solve(curvature[np.ix_(active, active)], right[active])
        move = w - start
        value = slope @ move + move @ curvature @ move / 2 + penalty * np.abs(w).sum()
        if value < lowest and (np.sign(w) == signs).all():
            found, lowest = w, value
    return found
