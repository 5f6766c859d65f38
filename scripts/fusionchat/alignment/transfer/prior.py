"""A prior over a source's vocabulary: where the probability lies that a list leaves out.

Vocabularies are ordered by frequency (merges are learnt in that order), and frequencies of words
follow Zipf's law. So the mass outside a top-k list is shared out in proportion to 1 / (100 + id),
and a row's share is looked up by what its ids must begin with: some pivot tokens, or some bytes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fusionchat.alignment.transfer.kernel import prefix_keys
from fusionchat.models.token_table import TokenTable

FLATTENED = 300  # ids before this are about equally frequent


class Prior(NamedTuple):
    """`weights`: float64 [source size], sum 1.

    `piece_keys` int64, sorted, `piece_shares` float64: the sum of the weights of all ids whose cut
    begins with the pivot tokens of a key. `byte_shares` float64, for each byte of the vocabulary:
    the sum for all ids that begin with the bytes of its token up to this one.
    """

    weights: np.ndarray
    piece_keys: np.ndarray
    piece_shares: np.ndarray
    byte_shares: np.ndarray


def zipf(source: TokenTable) -> np.ndarray:
    """The prior of each id; special tokens have none."""
    text = np.array([bool(data) for data in source.token_bytes]) & ~source.special
    weights = text / (FLATTENED + np.arange(source.size))
    return weights / max(weights.sum(), 1e-30)


def build(source: TokenTable, texts: Sequence[bytes], cuts: Sequence[tuple[int, ...]]) -> Prior:
    """The shares of all prefixes; `texts` and `cuts` hold the bytes and the pivot tokens of each
    source id, nothing for special tokens.
    """
    weights = zipf(source)
    keys, sums, _ = _prefix_sums(cuts, weights)
    _, shares, prefix = _prefix_sums(texts, weights)
    return Prior(weights, keys, sums, shares[prefix])


def _prefix_sums(
    items: Sequence[Sequence[int]], weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keys of all prefixes, the summed weights of what begins so, and the prefix at each place."""
    lengths = np.array([len(item) for item in items])
    flat = np.fromiter((value for item in items for value in item), np.int64, lengths.sum())
    keys, prefix = np.unique(prefix_keys(flat, lengths), return_inverse=True)
    return keys, np.bincount(prefix, np.repeat(weights, lengths), len(keys)), prefix
