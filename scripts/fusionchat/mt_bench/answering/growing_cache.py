"""A key-value cache that grows in blocks, where the stock one copies itself for every token."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

GROWTH = 64


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer in buffers with room for the next tokens."""

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Start with empty buffers of the right dtype and device."""
        super().lazy_initialization(key_states, value_states)
        self._buffers = [key_states[:, :, :0], value_states[:, :, :0]]
        self._length = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append states [B, heads, n, d] and return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self._length + key_states.shape[2]
        if end > self._buffers[0].shape[2]:
            self._grow(key_states.shape, end + GROWTH)
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, self._length : end] = states
        self._length = end
        self.keys, self.values = (buffer[:, :, :end] for buffer in self._buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep only these rows of the batch."""
        self._buffers = [buffer[indices.to(buffer.device)] for buffer in self._buffers]
        self.keys, self.values = (buffer[:, :, : self._length] for buffer in self._buffers)

    def _grow(self, shape: torch.Size, capacity: int) -> None:
        for index, old in enumerate(self._buffers):
            new = old.new_empty((*shape[:2], capacity, old.shape[3]))
            new[:, :, : self._length] = old[:, :, : self._length]
            self._buffers[index] = new


def grows(model: Any) -> bool:
    """Whether all layers of a model are plain attention, so that `GrowingLayer` can serve it.

    A sliding window is applied by the model's mask: keeping the older states changes nothing.
    """
    plain = (DynamicLayer, DynamicSlidingWindowLayer)
    return all(type(layer) in plain for layer in DynamicCache(config=model.config).layers)


def new_cache(model: Any) -> Cache:
    """An empty cache for this model, growing where possible."""
    if grows(model):
        return Cache(layer_class_to_replicate=GrowingLayer)
    return DynamicCache(config=model.config)


def join(caches: Sequence[Cache], widths: Sequence[int]) -> Cache:
    """One cache of all rows of several, each of `widths` tokens, padded on the left.

    The caches consist of `GrowingLayer`s; several are used up, layer by layer, so that prompts
    never take twice their memory.
    """
    if len(caches) == 1:
        return caches[0]
    joined = Cache(layer_class_to_replicate=GrowingLayer)
    for index in range(len(caches[0].layers)):
        layers = [cache.layers[index] for cache in caches]
        states = [
            _side_by_side([getattr(x, n) for x in layers], widths) for n in ("keys", "values")
        ]
        joined.update(*states, layer_idx=index)
        for cache in caches:
            cache.layers[index] = None
    return joined


def _side_by_side(parts: Sequence[torch.Tensor], widths: Sequence[int]) -> torch.Tensor:
    """States [B_i, heads, width_i, d] as one tensor [sum of B_i, heads, largest width, d]."""
    width = max(widths)
    padded = [
        torch.nn.functional.pad(part, (0, 0, width - length, 0))
        for part, length in zip(parts, widths, strict=True)
    ]
    return torch.cat(padded)
