"""How the pivot's tokenizer cuts what a source may write across the ends of its tokens."""

from collections.abc import Sequence

import numpy as np

from fusionchat.alignment.transfer.tables import Cuts
from fusionchat.logits.cutting import Cutter
from fusionchat.models.token_table import TokenTable

MOST = 1 << 19  # integers that are kept, with their keys some 30 MB; then it begins anew


class Joins:
    """Cuts of single source tokens, and of the ones that are asked for; each is made once.

    `alone` int64 [source size]: where each token's own cut begins (see `Cuts`).
    """

    def __init__(self, pivot: TokenTable, texts: Sequence[bytes], cuts: Sequence[tuple[int, ...]]):
        self._cutter, self._texts = Cutter(pivot), texts
        lengths = np.array([len(cut) for cut in cuts], np.int64)
        self.alone = np.concatenate([[0], np.cumsum(lengths + 1)])[:-1]
        flat = [value for cut in cuts for value in (len(cut), *cut)]
        self._flat, self._used = np.array(flat or [0], np.int64), len(flat)
        self._own = self._used
        self._known: dict[tuple[int, ...], int] = {}

    def __call__(self, tokens: np.ndarray, listed: np.ndarray, wanted: np.ndarray) -> Cuts:
        """The cuts of one dialogue: response ids [M], listed ids [M, k], and what `joins` names."""
        if self._used > self._own + MOST:
            self._used = self._own
            self._known.clear()
        found = Cuts(self._flat, np.full(len(tokens), -1), np.full(listed.shape, -1))
        ids = tokens.tolist()
        for begin, c, entry in wanted.tolist():
            last = int(listed[c, entry]) if entry >= 0 else ids[c]
            at = self._at((*ids[begin:c], last))
            if entry >= 0:
                found.listed[c, entry] = at
            else:
                found.text[c] = at
        return found._replace(flat=self._flat)

    def _at(self, tokens: tuple[int, ...]) -> int:
        """Where the cut of the tokens' text begins."""
        at = self._known.get(tokens)
        if at is None:
            cut = self._cutter(b"".join(self._texts[token] for token in tokens))
            at = self._known[tokens] = self._used
            self._used += 1 + len(cut)
            if self._used > len(self._flat):
                self._flat = np.concatenate([self._flat, np.empty_like(self._flat)])
            self._flat[at : self._used] = (len(cut), *cut)
        return at
