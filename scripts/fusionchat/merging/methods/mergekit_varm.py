"""VaRM as a method of mergekit: `merge_method: varm` in its YAML, equal to ours bit for bit.

mergekit finds no methods of other packages by itself; `register()`, or the program
`mergekit_yaml.py`, which takes mergekit-yaml's arguments, tells it of this one. Give
`dtype: float32`, or mergekit rounds the inputs before the method sees them. It shows a method one
tensor at a time, so that the unit can be a matrix or a parameter.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from mergekit.merge_methods import BasePolicy, InputContract, TensorGroup, merge_method, registry
from numpy.typing import NDArray

from fusionchat.errors import UserError
from fusionchat.merging import kernels
from fusionchat.merging.methods.varm import VarmMerge
from fusionchat.merging.tensor_blocks import BLOCK, TensorStack
from fusionchat.readers.safetensors import TensorReader

UNITS = ("matrix", "parameter")


class ArrayStack(TensorStack):
    """Tensors that are in memory, [n] float32 each, as the methods read them."""

    def __init__(self, arrays: Sequence[NDArray[np.float32]]) -> None:
        super().__init__(TensorReader(), len(arrays))
        self._arrays = arrays

    @property
    def inputs(self) -> int:
        """Number of models."""
        return len(self._arrays)

    @property
    def elements(self) -> int:
        """Elements of the tensor."""
        return self._arrays[0].size

    def raw_blocks(self) -> Iterator[list[kernels.Values]]:
        """Blocks [n] of each input."""
        for start in range(0, self.elements, BLOCK):
            yield [array[start : start + BLOCK] for array in self._arrays]


@merge_method(
    name="varm",
    pretty_name="VaRM",
    reference_url="https://arxiv.org/abs/2402.16107",
    contract=InputContract(base=BasePolicy.REQUIRED, min_inputs=2),
    uses_accelerator=False,
)
def varm(
    group: TensorGroup, granularity: str = "matrix", change: str = "square", normalise: str = "sum"
) -> torch.Tensor:
    """Weights from the changes against the base model (equation 7), float32."""
    if granularity not in UNITS:
        raise UserError(f"varm: granularity {granularity!r} is not one of {', '.join(UNITS)}")
    base = group.base.tensor
    tensors = [base, *(entry.tensor for entry in group.non_base)]
    arrays = [t.detach().cpu().float().contiguous().view(-1).numpy() for t in tensors]
    result = np.empty(base.numel(), np.float32)
    method, place = VarmMerge(granularity, change, normalise), 0
    for block in method.merge_tensor("", ArrayStack(arrays)):
        result[place : place + block.size] = block
        place += block.size
    return torch.from_numpy(result).view(base.shape).to(base.device)


def register() -> None:
    """Make `varm` known to mergekit in this process; twice is once."""
    if "varm" not in {method.spec.name for method in registry.registered_methods()}:
        registry.register(varm)
