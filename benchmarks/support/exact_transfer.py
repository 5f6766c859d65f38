"""The distribution over the pivot's next token that a source really has, from full distributions.

Convention. The source writes token by token, after the tokens that the text has so far; the
pivot's tokenizer cuts what is written from the beginning of the aligned group on. A row of a group
asks: of all that the source may write so that the pivot's tokens of the group so far are those of
the text, how much goes on with pivot token v? Every source token that agrees with the text so far
counts, cut by itself: where it ends, the pivot's token is taken to end. Only the text's own source
token is followed, through the source's next distribution and again with every token, until the
pivot's tokenizer cuts as it does in the text. (Following all others would take a forward pass
each.)
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from fusionchat.alignment.groups import Alignment
from fusionchat.logits.cutting import Cutter
from fusionchat.models.token_table import TokenTable

FOLLOWED = 1e-5  # smaller masses are not cut again together with the token before


class Row(NamedTuple):
    """One response token of the pivot: its position, the token that stands there, the kind of group
    as in the transfer's `KINDS`, and the exact distribution, float64 [pivot size].
    """

    position: int
    gold: int
    kind: str
    exact: np.ndarray


@dataclass(frozen=True)
class Text:
    """A text as both tokenizers cut it, with the source's full distributions float32 [M, V].

    `held_out`: the prior's constant was not chosen by this text.
    """

    name: str
    pivot_ids: np.ndarray
    source_ids: np.ndarray
    probabilities: np.ndarray
    alignment: Alignment
    held_out: bool = False


class Exact:
    """Exact rows for one pivot and one source."""

    def __init__(self, pivot: TokenTable, source: TokenTable):
        self._cut: Callable[[bytes], tuple[int, ...]] = cache(Cutter(pivot))
        self._pivot, self._bytes = pivot, source.token_bytes
        usable = [
            bool(b) and not s for b, s in zip(source.token_bytes, source.special, strict=True)
        ]
        self._first = np.full(source.size, self._pivot.size)  # one past the end: no text
        for token in np.flatnonzero(usable).tolist():
            self._first[token] = (*self._cut(self._bytes[token]), self._pivot.size)[0]
        self._in_order = sorted(
            (self._bytes[token], token) for token in np.flatnonzero(usable).tolist()
        )

    def rows(self, text: Text) -> Iterator[Row]:
        """The rows of all groups whose two sides spell the same bytes."""
        stop = text.alignment.start + text.alignment.count
        firsts = np.flatnonzero(text.alignment.begins).tolist()
        for first, last in zip(firsts, [*firsts[1:], len(text.pivot_ids)], strict=True):
            begin, end = int(text.alignment.start[first]), int(stop[first:last].max())
            pivot = text.pivot_ids[first:last].tolist()
            spelled = b"".join(self._pivot.token_bytes[i] for i in pivot)
            if spelled and spelled == b"".join(self._bytes[i] for i in text.source_ids[begin:end]):
                kind = "_to_".join("one" if n == 1 else "many" for n in (end - begin, len(pivot)))
                for step in range(len(pivot)):
                    yield self._row(text, first, pivot, begin, end, step, kind)

    def _row(
        self, text: Text, first: int, pivot: list[int], begin: int, end: int, step: int, kind: str
    ) -> Row:
        done = b"".join(self._pivot.token_bytes[i] for i in pivot[:step])
        c, before = begin, b""
        while len(before) + len(self._bytes[text.source_ids[c]]) <= len(done):
            before += self._bytes[text.source_ids[c]]
            c += 1
        walk = _Walk(tuple(pivot[:step]), pivot[step], np.zeros(self._pivot.size + 1))
        probabilities, token = text.probabilities[c], int(text.source_ids[c])
        if step == 0:
            np.add.at(walk.mass, self._first, probabilities)
            walk.mass[self._first[token]] -= probabilities[token]
        else:
            for other in self._beginning_with(done[len(before) :]):
                if other != token:
                    self._place(walk, before + self._bytes[other], probabilities[other])
        ahead, own = before + self._bytes[token], float(probabilities[token])
        self._follow(walk, text, c + 1, end, ahead, own)
        return Row(first + step, pivot[step], kind, walk.mass[:-1] / walk.mass.sum())

    def _follow(
        self, walk: "_Walk", text: Text, c: int, end: int, ahead: bytes, weight: float
    ) -> None:
        """Place the mass of the text's own tokens, which spell `ahead` and end before token c."""
        shown = (*walk.before, walk.gold)
        if c == end or self._cut(ahead)[: len(shown)] == shown:
            walk.mass[walk.gold] += weight
            return
        probabilities, token = weight * text.probabilities[c], int(text.source_ids[c])
        followed = np.flatnonzero((probabilities > FOLLOWED) & (self._first < self._pivot.size))
        for other in followed[followed != token].tolist():
            self._place(walk, ahead + self._bytes[other], probabilities[other])
        left = weight - probabilities[followed[followed != token]].sum() - probabilities[token]
        self._place(walk, ahead, left)
        ahead += self._bytes[token]
        self._follow(walk, text, c + 1, end, ahead, float(probabilities[token]))

    def _place(self, walk: "_Walk", data: bytes, mass: float) -> None:
        """Give mass to the pivot token that follows the text's pivot tokens in `data`."""
        pieces = self._cut(data)
        step = len(walk.before)
        if pieces[:step] == walk.before:
            walk.mass[pieces[step] if len(pieces) > step else -1] += mass

    def _beginning_with(self, prefix: bytes) -> list[int]:
        """The source tokens whose text begins with some bytes."""
        begin = bisect_left(self._in_order, (prefix, -1))
        found = []
        for data, token in self._in_order[begin:]:
            if not data.startswith(prefix):
                break
            found.append(token)
        return found


class _Walk(NamedTuple):
    """The pivot tokens of the group so far, the one that stands next, and the masses so far."""

    before: tuple[int, ...]
    gold: int
    mass: np.ndarray
