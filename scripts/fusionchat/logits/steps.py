"""How much of a full distribution begins as the token that stands there does.

With a vocabulary in order, what begins with a prefix is one range of it, and its mass a difference
of cumulative sums. Two orders: by the pivot's tokens that spell each token, and by its bytes. With
these masses the transfer to that pivot's tokenizer divides by what a top-k list does not tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from fusionchat.logits.cutting import cut_texts
from fusionchat.models.token_table import TokenTable


@dataclass(frozen=True)
class Prefixes:
    """All prefixes of the n items of a vocabulary, the shortest first.

    `order` int64 [n]: the items, sorted; prefix i of item t is number `offsets[t] + i`, and
    `order[first:last]` of a prefix are the items that begin with it.
    """

    order: np.ndarray
    offsets: np.ndarray
    first: np.ndarray
    last: np.ndarray

    @classmethod
    def of(cls, items: Sequence[Sequence[int]]) -> "Prefixes":
        """Sort the items; neighbours that share a prefix are of one range."""
        order = sorted(range(len(items)), key=lambda item: tuple(items[item]))
        offsets = np.cumsum([0, *map(len, items)])
        shared = [0, *(_shared(items[a], items[b]) for a, b in pairwise(order)), 0]
        first, last = np.zeros((2, offsets[-1]), np.int64)
        begins, ends = np.zeros((2, max(map(len, items), default=0)), np.int64)
        for rank, item in enumerate(order):
            begins[shared[rank] :] = rank
            first[offsets[item] : offsets[item + 1]] = begins[: len(items[item])]
        for rank, item in reversed(list(enumerate(order))):
            ends[shared[rank + 1] :] = rank + 1
            last[offsets[item] : offsets[item + 1]] = ends[: len(items[item])]
        return cls(np.array(order, np.int64), offsets, first, last)

    def masses(self, probabilities: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """The mass of each prefix of a token of each row, one row after the other; float64.

        `probabilities` [rows, vocabulary], `tokens` int64 [rows].
        """
        order, offsets, first, last = (
            torch.from_numpy(array).to(probabilities.device)
            for array in (self.order, self.offsets, self.first, self.last)
        )
        sums = probabilities[:, order].cumsum(dim=-1, dtype=torch.float64)
        sums = torch.nn.functional.pad(sums, (1, 0))
        counts = offsets[tokens + 1] - offsets[tokens]
        rows = torch.arange(len(tokens), device=tokens.device).repeat_interleave(counts)
        before = (counts.cumsum(0) - counts)[rows]
        prefix = offsets[tokens][rows] + torch.arange(len(rows), device=tokens.device) - before
        return sums[rows, last[prefix]] - sums[rows, first[prefix]]


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many first elements are equal."""
    length = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        length += 1
    return length


@dataclass(frozen=True)
class Steps:
    """The prefixes of a model's vocabulary, by the tokens of a pivot and by bytes."""

    by_cut: Prefixes
    by_bytes: Prefixes

    @classmethod
    def of(cls, source: TokenTable, pivot: TokenTable) -> "Steps":
        """Special tokens have no prefixes."""
        texts, cuts = cut_texts(source, pivot)
        return cls(Prefixes.of(cuts), Prefixes.of(texts))

    def masses(self, probabilities: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The masses of all prefixes of `tokens` [rows], by the pivot's tokens and by bytes."""
        return tuple(p.masses(probabilities, tokens) for p in (self.by_cut, self.by_bytes))

    def split(
        self, masses: Sequence[np.ndarray], tokens: np.ndarray, bounds: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The masses of rows of `tokens`, split at rows `bounds`, as log-probabilities float16."""
        parts = []
        for prefixes, values in zip((self.by_cut, self.by_bytes), masses, strict=True):
            counts = np.diff(prefixes.offsets)[tokens]
            at = np.concatenate([[0], np.cumsum(counts)])[bounds]
            with np.errstate(divide="ignore"):
                logs = np.log(np.maximum(values, 0)).astype(np.float16)
            parts.append(np.split(logs, at))
        return list(zip(*parts, strict=True))
