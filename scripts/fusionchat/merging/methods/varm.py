"""VaRM's weights: each unit of the merged model follows the target that changed there the most.

Equation 7 of the paper: W[j, m] = E_m[d_j^2] / sum_j E_m[d_j^2], where d_j is the change of target
j against the pivot and m a unit: the whole model, a layer, a module, a matrix or a parameter.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fusionchat.merging import kernels
from fusionchat.merging.tensor_blocks import TensorStack

GRANULARITIES = ("model", "layer", "module", "matrix", "parameter")
CHANGES = ("square", "abs")
NORMALISATIONS = ("sum", "softmax")
_LAYER = re.compile(
    r"^(?:.*?\.)?(?:layers|layer|h|blocks|block|resblocks|blk|albert_layer_groups)\.\d+(?=\.)"
)
# XLM and its kin number each kind of module for itself: attentions.3, ffns.3, layer_norm1.3
_BY_KIND = re.compile(r"^((?:.*?\.)?)(attentions|ffns|layer_norm\d*|encoder_attn)\.(\d+)(?=\.)")
_INNER = re.compile(r"(?:layer|albert_layers)\.\d+|[^.]+")  # T5's block.3.layer.0


def layer_of(tensor: str) -> str:
    """`model.layers.3` for all within layer 3 (the outermost number counts); else the tensor."""
    match = _LAYER.match(tensor)
    if match:
        return match.group(0)
    kind = _BY_KIND.match(tensor)
    return f"{kind[1]}layers.{kind[3]}" if kind else tensor


def module_of(tensor: str) -> str:
    """`model.layers.3.mlp` and the like; a tensor outside all layers is its own module."""
    match = _LAYER.match(tensor)
    if match:
        inner = _INNER.match(tensor[match.end() + 1 :])
        return f"{match.group(0)}.{inner.group(0) if inner else ''}"
    kind = _BY_KIND.match(tensor)
    return f"{layer_of(tensor)}.{kind[2]}" if kind else tensor


def outside_layers(tensors: Iterable[str]) -> list[str]:
    """Tensors that belong to no layer: units of their own at layer and module level."""
    return [name for name in tensors if layer_of(name) == name]


def unit_of(tensor: str, granularity: str) -> str:
    """The unit that a tensor belongs to (at parameter level: the tensor that is reported)."""
    if granularity == "model":
        return "model"
    return {"layer": layer_of, "module": module_of}.get(granularity, str)(tensor)


def pool(
    tensors: Iterable[str],
    granularity: str,
    sums: Mapping[str, NDArray[np.float64]],
    elements: Mapping[str, int],
) -> dict[str, tuple[NDArray[np.float64], int]]:
    """Change sums [targets] and element counts per unit: a unit's mean is over ALL its elements."""
    pooled: dict[str, tuple[NDArray[np.float64], int]] = {}
    for tensor in tensors:
        unit = unit_of(tensor, granularity)
        total, count = pooled.get(unit, (0.0, 0))
        pooled[unit] = (total + sums[tensor], count + elements[tensor])
    return pooled


def weights(
    sums: Sequence[float] | NDArray[np.float64], elements: int, normalise: str = "sum"
) -> NDArray[np.float64]:
    """Weights [targets] of one unit from its sums of (squared or absolute) changes.

    No epsilon: only the ratio of the changes counts, however small they are. Where no target
    changed anything the weights are equal, which keeps the pivot.
    """
    mean = np.asarray(sums, np.float64) / max(elements, 1)
    largest = mean.max()
    if largest == 0:
        return np.full(mean.size, 1 / mean.size)
    with np.errstate(invalid="ignore"):  # infinity becomes NaN, which no merge lets pass
        # Dividing by the largest first keeps tiny changes away from the subnormal numbers.
        shares = np.exp(mean - largest) if normalise == "softmax" else mean / largest
        return shares / shares.sum()


def sum_changes(stack: TensorStack, change: str = "square") -> NDArray[np.float64]:
    """Sums [targets] of the changes of one tensor against the pivot, row 0 of the stack."""
    measure = kernels.squared_change if change == "square" else kernels.absolute_change
    sums = np.zeros(stack.inputs - 1)
    for pivot, *targets in stack.raw_blocks():
        sums += [measure(pivot, target) for target in targets]
    return sums


class VarmMerge:
    """VaRM with weights that are known before (any unit), measured on the way, or per parameter.

    `known` maps every tensor to its unit's weights; without it units are matrices or parameters.
    """

    name = "varm"
    reads_pivot = True

    def __init__(
        self,
        granularity: str,
        change: str = "square",
        normalise: str = "sum",
        known: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> None:
        self._granularity = granularity
        self._change = change
        self._normalise = normalise
        self._known = known
        self.effective: dict[str, NDArray[np.float64]] = {}

    def unit(self, name: str) -> str:
        """The unit of a tensor; at parameter level the tensor, for which mean weights are kept."""
        return unit_of(name, self._granularity)

    def merge_tensor(self, name: str, stack: TensorStack) -> Iterator[NDArray[np.float64]]:
        """The merged tensor, block by block."""
        if self._granularity == "parameter":
            yield from self._merge_elements(name, stack)
            return
        if self._known is None:
            sums = sum_changes(stack, self._change)
            shares = weights(sums, stack.elements, self._normalise)
        else:
            shares = self._known[name]
        self.effective[name] = shares
        for _, *targets in stack.raw_blocks():
            yield stack.weighted_sum(targets, shares)

    def _merge_elements(self, name: str, stack: TensorStack) -> Iterator[NDArray[np.float64]]:
        sums = np.zeros(stack.inputs - 1)
        square, softmax = self._change == "square", self._normalise == "softmax"
        for block in stack.blocks():
            result = stack.result(block.shape[1])
            kernels.weighted_by_element(block[0], block[1:], square, softmax, result, sums)
            yield result
        self.effective[name] = sums / max(stack.elements, 1)
