"""AlpacaEval 2's length-controlled win rate: a logistic model of what the judge prefers.

P(win) = sigmoid(a tanh(d) + b difficulty + c), where d is the difference in characters (baseline
minus model) in units of its standard deviation, and the difficulty of each question is published.
The win rate is the mean prediction for d = 0. As published, the fit also sees the baseline's own
verbose and concise variants, with weight 0.1 and without the term c, has an L1 penalty, and takes
the strength of it from five-fold cross-validation over questions.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from fusionchat.alpaca_eval.data import Gamed

GAMED_WEIGHT = 0.2 / 2  # two variants share the published weight
STRENGTHS = np.logspace(-4, 4, 10)
FOLDS = 5


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
    """Minimise |w|_1 + strength * cross-entropy, with w as the difference of two positive parts."""

    def objective(parts: np.ndarray) -> tuple[float, np.ndarray]:
        scores = data.features @ (parts[:3] - parts[3:])
        loss = data.weights @ _losses(scores, data.targets)
        slope = data.features.T @ (data.weights * (expit(scores) - data.targets))
        slopes = np.concatenate([slope, -slope])
        return float(strength * loss + parts.sum()), strength * slopes + 1.0

    first = np.concatenate([np.maximum(start, 0.0), np.maximum(-start, 0.0)])
    options = {"ftol": 1e-12, "gtol": 1e-7 * max(1.0, strength)}
    result = minimize(
        objective, first, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * 6, options=options
    )
    return np.asarray(result.x[:3] - result.x[3:])
