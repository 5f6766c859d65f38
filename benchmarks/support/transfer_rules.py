"""Ours, the released code's rules, and those of other libraries, on the same text.

The other libraries work online: they get the source's full distributions here. Each rule is
written from its documentation, in the few lines that say what it gives at a pivot token, and was
compared with the code (TRL f2cd577, NeMo-RL 7ea279a, tokenkit bcacdef). Where the two differ, the
rule here is the more generous one:

* ours, steps: the `mass` rules, from lists alone and with a dump's exact steps.
* released: the code that the authors released.
* listed: the list is taken for the whole distribution: rows are renormalised, and a step inside a
  source token is divided by what is listed of its beginning. Groups n-n are left out.
* GOLD (TRL): one distribution an aligned group, that of its first source position times the
  probabilities of the source's further tokens; matched by equal text. Inside a group: nothing.
  This is the default, `uld_token_merge_strategy: observed`. The code matches the spellings of the
  vocabularies (`Ġthe` is not `▁the`), and takes the distributions one position late, behind the
  group's tokens. Its other strategy, `bayesian`, takes the last position's distribution times the
  probabilities of the tokens before: a joint probability of the group's end, no row's conditional.
* mean (NeMo-RL, P-KL over chunks): the mean of the log-probabilities of the group's source
  positions, for all its pivot tokens; matched by equal text. The code compares in the teacher's
  vocabulary, restricted to its 8,192 most probable tokens of a batch: it brings the student's
  probabilities there by a projection with weights, and takes the mean over its positions.
* likelihood (tokenkit, ALM): the likelihood of each group. It says something of a pivot token
  where the group has only one, and then of the text's token alone. The code's mode `append_space`
  multiplies it by the probability that the next token begins with a space, which makes it that of
  a whole word, and `unbiased` groups leave out those whose ends one of the tokenizers rarely has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from support.exact_transfer import Text

from fusionchat.alignment import vocabulary, vocabulary_map
from fusionchat.alignment.groups import PairCounts
from fusionchat.alignment.response_tokens import ResponseTokens
from fusionchat.alignment.transfer.mass import MassTransfer
from fusionchat.alignment.transfer.reference import ReferenceRules
from fusionchat.logits.steps import Steps
from fusionchat.logits.store import DialogueLogits
from fusionchat.models.token_table import TokenTable

Taught = dict[int, float]  # pivot id to probability, as the loss gets it; empty: nothing is taught
RULES = {
    "ours": "this package",
    "steps": "this package, `exact_steps`",
    "released": "released code (`reference`)",
    "listed": "list taken for all, renormalised",
    "GOLD": "TRL, GOLD",
    "mean": "NeMo-RL, P-KL",
    "likelihood": "tokenkit, ALM",
}
OURS, LISTS, FULL = ("ours", "steps"), ("released", "listed"), ("GOLD", "mean", "likelihood")


@dataclass(frozen=True)
class Lists:
    """The k most probable ids of each row, int32 [M, k], float16 log-probabilities, CE [M]."""

    ids: np.ndarray
    logprobs: np.ndarray
    token_ce: np.ndarray

    @classmethod
    def of(cls, text: Text, k: int) -> "Lists":
        """What a dump of k entries keeps."""
        rows = np.arange(len(text.source_ids))
        ids = np.argpartition(-text.probabilities, k, axis=1)[:, :k]
        kept = np.take_along_axis(text.probabilities, ids, axis=1)
        order = np.argsort(-kept, axis=1, kind="stable")
        ids, kept = (np.take_along_axis(array, order, axis=1) for array in (ids, kept))
        with np.errstate(divide="ignore"):
            logs, ce = np.log(kept), -np.log(text.probabilities[rows, text.source_ids])
        return cls(ids.astype(np.int32), logs.astype(np.float16), ce.astype(np.float16))


class Rules:
    """All rules for one pivot and one source, with the vocabulary map of some texts."""

    def __init__(self, pivot: TokenTable, source: TokenTable, texts: list[Text]):
        counts = PairCounts(pivot, source)
        for text in texts:
            counts.add(text.pivot_ids, text.source_ids, text.alignment)
        pairs = vocabulary.Pairs.sum([counts.table()], pivot.size)
        self._pivot, self._source = pivot, source
        self._exact = vocabulary_map.exact(source, pivot)
        mapped = vocabulary.build(pivot, source, pairs, "statistics").mapped
        self._steps = Steps.of(source, pivot)
        self._mass = MassTransfer.of(pivot, source, mapped)
        released = vocabulary.build(pivot, source, pairs, "statistics_reference").mapped
        self._released = ReferenceRules(pivot, source, released, pairs)

    def ours(self, text: Text, k: int, steps: Any = None) -> list[Taught]:
        """The `mass` rules; what is not known stays tail."""
        lists = Lists.of(text, k)
        arrays = (lists.ids, lists.logprobs, lists.token_ce, steps)
        found = self._mass(text.pivot_ids, text.source_ids, text.alignment, *arrays)
        return [_row(ids, mass) for ids, mass in zip(found.ids, found.mass, strict=True)]

    def steps(self, text: Text, k: int) -> list[Taught]:
        """The same with the masses of prefixes that a dump for this pivot stores."""
        import torch

        tokens = torch.from_numpy(text.source_ids.astype(np.int64))
        masses = self._steps.masses(torch.from_numpy(text.probabilities), tokens)
        arrays = [mass.numpy() for mass in masses]
        (stored,) = self._steps.split(arrays, text.source_ids, np.empty(0, np.int64))
        return self.ours(text, k, stored)

    def released(self, text: Text, k: int) -> list[Taught]:
        """The released code, whose rows are renormalised."""
        lists = Lists.of(text, k)
        span = np.array([[1, len(text.source_ids)]], np.int32)
        source = DialogueLogits(
            "", np.append(0, text.source_ids), span, lists.ids, lists.logprobs, lists.token_ce, 0, 0
        )
        span = np.array([[1, len(text.pivot_ids)]], np.int32)
        pivot = ResponseTokens("", np.append(0, text.pivot_ids), span, True)
        found = self._released(pivot, source, text.alignment)
        rows = [_row(ids, mass) for ids, mass in zip(found.ids, found.mass, strict=True)]
        return [_renormalised(row) for row in rows]

    def listed(self, text: Text, k: int) -> list[Taught]:
        """Lists as whole distributions."""
        lists = Lists.of(text, k)
        mass = np.exp(lists.logprobs.astype(np.float64))
        own = np.exp(-lists.token_ce.astype(np.float64))
        rows: list[Taught] = []
        for pivot, begin, end in _groups(text):
            entries = dict(zip(lists.ids[begin].tolist(), mass[begin].tolist(), strict=True))
            token, done = int(text.source_ids[begin]), b""
            others = {other: m for other, m in entries.items() if other != token}
            inside = {t: m for t, m in others.items() if self._exact[t] < 0} | {token: own[begin]}
            for gold in pivot:
                ahead = done + self._pivot.token_bytes[gold]
                row = self._matched(others) if not done else {}
                if len(pivot) == 1:
                    row[gold] = float(own[begin:end].prod())
                elif end - begin == 1:
                    whole = self._beginning(inside, done) if done else 1.0
                    row[gold] = self._beginning(inside, ahead) / whole
                else:
                    row = {}
                rows.append(_renormalised(row))
                done = ahead
        return rows

    def GOLD(self, text: Text, k: int) -> list[Taught]:
        """One merged distribution a group."""
        rows: list[Taught] = []
        for pivot, begin, end in _groups(text):
            later = np.arange(begin + 1, end)
            product = float(text.probabilities[later, text.source_ids[later]].prod())
            entries = _likely(product * text.probabilities[begin])
            rows += [self._matched(entries), *({} for _ in pivot[1:])]
        return rows

    def mean(self, text: Text, k: int) -> list[Taught]:
        """One mean of log-probabilities a group."""
        rows: list[Taught] = []
        for pivot, begin, end in _groups(text):
            logs = np.log(np.maximum(text.probabilities[begin:end], 1e-30)).mean(axis=0)
            weights = np.exp(logs - logs.max())
            rows += [self._matched(_likely(weights / weights.sum())) for _ in pivot]
        return rows

    def likelihood(self, text: Text, k: int) -> list[Taught]:
        """The likelihood of each group."""
        rows: list[Taught] = []
        for pivot, begin, end in _groups(text):
            own = np.arange(begin, end)
            product = float(text.probabilities[own, text.source_ids[own]].prod())
            rows += [{pivot[0]: product}] if len(pivot) == 1 else [{} for _ in pivot]
        return rows

    def _matched(self, entries: dict[int, float]) -> Taught:
        """Entries whose text is a pivot token."""
        row: Taught = {}
        for token, mass in entries.items():
            if token < len(self._exact) and self._exact[token] >= 0 and mass > 0:
                target = int(self._exact[token])
                row[target] = row.get(target, 0.0) + mass
        return row

    def _beginning(self, entries: dict[int, float], prefix: bytes) -> float:
        spelled = self._source.token_bytes
        return sum(m for t, m in entries.items() if spelled[t].startswith(prefix))


def rule(rules: Rules, name: str) -> Callable[[Text, int], list[Taught]]:
    """One rule by its name."""
    return getattr(rules, name)


def _groups(text: Text) -> list[tuple[list[int], int, int]]:
    """Pivot tokens, first and end of the source tokens of each aligned group."""
    stops = text.alignment.start + text.alignment.count
    edges = [*np.flatnonzero(text.alignment.begins).tolist(), len(text.pivot_ids)]
    return [
        (text.pivot_ids[a:b].tolist(), int(text.alignment.start[a]), int(stops[a:b].max()))
        for a, b in pairwise(edges)
    ]


def _likely(probabilities: np.ndarray) -> dict[int, float]:
    ids = np.flatnonzero(probabilities > 1e-6)
    return dict(zip(ids.tolist(), probabilities[ids].tolist(), strict=True))


def _row(ids: np.ndarray, mass: np.ndarray) -> Taught:
    used = mass > 0
    return dict(zip(ids[used].tolist(), mass[used].tolist(), strict=True))


def _renormalised(row: Taught) -> Taught:
    total = sum(row.values())
    return {token: mass / total for token, mass in row.items()} if total else {}
