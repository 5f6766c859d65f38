"""A prior over a source's vocabulary: where the probability lies that a list leaves out.

Vocabularies are ordered by frequency (merges are learnt in that order), and frequencies of words
follow Zipf's law. So the mass outside a top-k list is shared out in proportion to 1 / (100 + id),
and a row's share is looked up by what its ids must begin with: some pivot tokens, or some bytes.
"""

from typing import NamedTuple

import numpy as np

from fusionchat.alignment.groups import sum_by_key
from fusionchat.alignment.transfer_kernel import BYTES, PIECES, prefix_keys
from fusionchat.models.token_table import TokenTable

FLATTENED = 300  # ids before this are about equally frequent


class Prior(NamedTuple):
    """`weights` float64 [source size], sum 1; `keys` int64, sorted, and `shares` float64: the sum
    of the weights of all ids that begin with the pivot tokens or bytes of a key.
    """

    weights: np.ndarray
    keys: np.ndarray
    shares: np.ndarray


def zipf(source: TokenTable) -> np.ndarray:
    """The prior of each id; special tokens have none."""
    text = np.array([bool(data) for data in source.token_bytes]) & ~source.special
    weights = text / (FLATTENED + np.arange(source.size))
    return weights / max(weights.sum(), 1e-30)


def build(source: TokenTable, cuts: list[tuple[int, ...]]) -> Prior:
    """The shares of all prefixes; `cuts` holds the pivot tokens of each source id."""
    weights = zipf(source)
    texts = [b"" if s else b for b, s in zip(source.token_bytes, source.special, strict=True)]
    keys, values = [], []
    for seed, items in ((PIECES, cuts), (BYTES, texts)):
        lengths = np.array([len(item) for item in items])
        flat = np.fromiter((value for item in items for value in item), np.int64, lengths.sum())
        keys.append(prefix_keys(flat, lengths, seed))
        values.append(np.repeat(weights, lengths))
    return Prior(weights, *sum_by_key(np.concatenate(keys), np.concatenate(values)))
