"""AlpacaEval 2's length-controlled win rate: a logistic model of what the judge prefers.

P(win) = sigmoid(a tanh(d) + b difficulty + c), where d is the difference in characters (baseline
minus model) in units of its standard deviation, and the difficulty of each question is published.
The win rate is the mean prediction for d = 0. As published, the fit also sees the baseline's own
verbose and concise variants, with weight 0.1 and without the term c, has an L1 penalty, and takes
the strength of it from five-fold cross-validation over questions.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from fusionchat.alpaca_eval.data import Gamed

GAMED_WEIGHT = 0.2 / 2  # two variants share the published weight
STRENGTHS = np.logspace(-4, 4, 10)
FOLDS = 5
CERTAIN = 1e-15  # how far from 0 and 1 the package keeps a left-out prediction
SEED = 123  # the package's, for liblinear's random order


@dataclass(frozen=True)
class _Data:
    """Features [N, K], targets in [0, 1] [N] and weights [N]."""

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
    fitted = _fit(data, _choose(data), np.random.RandomState(SEED))
    level_field = ours * np.array([0.0, 1.0, 1.0])
    predicted = expit(level_field @ fitted)
    slope = (level_field * (predicted * (1 - predicted))[:, None]).mean(axis=0)
    influence = np.zeros(len(delta))
    influence[judged] = len(delta) * _steps(data, fitted)[len(theirs) :] @ slope
    return np.asarray(predicted + influence - influence.mean())


def _steps(data: _Data, fitted: np.ndarray) -> np.ndarray:
    """Where the fit goes as the weight of each datum grows [N, K], by Newton's step.

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
        kept, left_out = data.part(folds != fold), data.part(folds == fold)
        random = np.random.RandomState(SEED)
        for index, strength in enumerate(STRENGTHS):
            chance = expit(left_out.features @ _fit(kept, strength, random))
            chance = chance.clip(CERTAIN, 1 - CERTAIN)
            won, lost = left_out.targets, 1 - left_out.targets
            gains = won * np.log(chance) + lost * np.log(1 - chance)
            scores[index] += (left_out.weights * gains).mean()
    return float(STRENGTHS[np.argmax(scores)])


def _fit(data: _Data, strength: float, random: np.random.RandomState) -> np.ndarray:
    """Weights [K] that about minimise |w|_1 + strength * weighted cross-entropy.

    By liblinear, as the package: where two strengths predict alike to the sixth digit, the choice
    hangs on where their fits stop. A row of target t is two: won with weight t, lost with 1 - t.
    """
    from sklearn.linear_model import LogisticRegression  # takes a second to import

    model = LogisticRegression(
        C=strength, l1_ratio=1, solver="liblinear", fit_intercept=False, random_state=random
    )
    shares = np.concatenate([data.targets, 1 - data.targets])
    won = np.repeat([1, 0], len(data.targets))
    model.fit(np.tile(data.features, (2, 1)), won, np.tile(data.weights, 2) * shares)
    return np.asarray(model.coef_[0])
