"""What the transfer works on: facts of two vocabularies, a source's lists, and the result."""

from typing import NamedTuple

import numpy as np

from fusionchat.alignment.spelling import Text

KINDS = ("one_to_one", "many_to_one", "one_to_many", "many_to_many", "fallback")
ONE_TO_ONE, MANY_TO_ONE, ONE_TO_MANY, MANY_TO_MANY, FALLBACK = range(5)


class Tables(NamedTuple):
    """What does not depend on a dialogue; see `MassTransfer` and `prior`.

    `pivot_order`: the pivot's text ids sorted by bytes; `cut_at`: where the cut of each source
    token begins in `Cuts.flat`.
    """

    pivot: Text
    pivot_order: np.ndarray
    source: Text
    mapped: np.ndarray
    cut_at: np.ndarray
    prior: np.ndarray
    piece_keys: np.ndarray
    piece_shares: np.ndarray
    byte_shares: np.ndarray


class Distributions(NamedTuple):
    """The source's side: M response ids, listed ids and probabilities [M, k], CE [M].

    `cut_mass`, `byte_mass`: probability of all that begins as the token does, by prefixes of the
    pivot's tokens and of bytes, those of token c from `cut_mass_at[c]`, `byte_mass_at[c]` on; or
    empty.
    """

    token: np.ndarray
    ids: np.ndarray
    mass: np.ndarray
    ce: np.ndarray
    cut_mass: np.ndarray
    cut_mass_at: np.ndarray
    byte_mass: np.ndarray
    byte_mass_at: np.ndarray


class Cuts(NamedTuple):
    """How the pivot's tokenizer cuts texts: each cut in `flat` is its length, then its tokens.

    `text` int64 [M]: where the cut of a group's text up to and with source token c begins;
    `listed` int64 [M, k]: that of its text before c and a listed id; -1 where nothing joins them.
    """

    flat: np.ndarray
    text: np.ndarray
    listed: np.ndarray


class Transferred(NamedTuple):
    """Distributions at the N response tokens of the pivot.

    `ids` int64 [N, k]; `mass` float64 [N, k], probabilities, best first, 0 in unused slots;
    `token_ce` float64 [N], nats, NaN where the source has nothing; `kinds` int8 [N], index into
    KINDS (source tokens to pivot tokens); `mass_in`, `mass_out` float64 [N]: listed probability
    before and after; `begins` bool [N]: the row begins an aligned group.
    """

    ids: np.ndarray
    mass: np.ndarray
    token_ce: np.ndarray
    kinds: np.ndarray
    mass_in: np.ndarray
    mass_out: np.ndarray
    begins: np.ndarray

    @classmethod
    def empty(cls, rows: int, k: int) -> "Transferred":
        """Rows of which nothing is known."""
        return cls(
            np.zeros((rows, k), np.int64),
            np.zeros((rows, k)),
            np.full(rows, np.nan),
            np.full(rows, FALLBACK, np.int8),
            np.zeros(rows),
            np.zeros(rows),
            np.zeros(rows, np.bool_),
        )

    @property
    def logprobs(self) -> np.ndarray:
        """Natural logarithms of `mass`, -inf in unused slots."""
        with np.errstate(divide="ignore"):
            return np.log(self.mass)
