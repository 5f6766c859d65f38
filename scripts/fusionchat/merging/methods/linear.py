"""The plain weighted mean of the targets, and the equal mean among the controls."""

from collections.abc import Iterator

import numpy as np

from fusionchat.merging.tensor_blocks import TensorStack, Values, whole_weights


class LinearMerge:
    """sum_j w_j theta_j / sum_j w_j with fixed weights, rounded correctly."""

    name = "linear"
    reads_pivot = False

    def __init__(self, weights: Values) -> None:
        self._weights = weights / weights.sum()
        whole = whole_weights(weights)
        self._exact = whole is not None
        self._given = weights if whole is None else whole
        if np.frexp(self._given.sum())[0] == 0.5:
            # A power of two divides exactly: no need to divide each element.
            self._given = self._given / self._given.sum()
        self.effective: dict[str, Values] = {}

    def unit(self, name: str) -> str:
        """All tensors have the same weights."""
        return "model"

    def merge_tensor(self, name: str, stack: TensorStack) -> Iterator[Values]:
        """The merged tensor, block by block."""
        self.effective[name] = self._weights
        for targets in stack.raw_blocks():
            yield stack.weighted_mean(targets, self._given, self._exact)
