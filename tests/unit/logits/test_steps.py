"""Masses of prefixes from full distributions, and what the transfer makes of them."""

import numpy as np
import pytest
import tiny_models
import torch
from alignment_cases import TEXTS, encode, model_folder, table
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.alignment import spans, vocabulary
from fusionchat.alignment.aligned_store import check_steps
from fusionchat.alignment.groups import Alignment
from fusionchat.alignment.transfer.mass import MassTransfer
from fusionchat.dialogues.dialogue import write_dialogues
from fusionchat.errors import UserError
from fusionchat.logits.api import DumpOptions, ForwardOptions, dump_logits
from fusionchat.logits.cutting import cut_texts
from fusionchat.logits.steps import Prefixes, Steps
from fusionchat.logits.store import read_logits, read_provenance
from fusionchat.models.token_table import load

NO_PAIRS = vocabulary.Pairs(*(np.empty(0, np.int64) for _ in range(4)))


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=12), st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_the_mass_of_each_prefix_is_that_of_all_that_begins_so(items, seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(len(items)), 3)
    tokens = rng.integers(0, len(items), 3)
    found = Prefixes.of(items).masses(torch.tensor(probabilities), torch.tensor(tokens)).tolist()
    expected = [
        sum(p for p, other in zip(row, items, strict=True) if other.startswith(items[token][:stop]))
        for row, token in zip(probabilities, tokens, strict=True)
        for stop in range(1, len(items[token]) + 1)
    ]
    assert found == pytest.approx(expected)


def exact_rows(pair, text, k):
    """Transferred from lists of k with exact steps, and the probability that each must give."""
    pivot, source = map(table, pair)
    p, s = encode(pair[0], text), encode(pair[1], text)
    rows = np.random.default_rng(k).dirichlet(np.full(source.size, 0.05), len(s))
    rows = (rows + 1e-5) / (rows + 1e-5).sum(axis=1, keepdims=True)
    steps = Steps.of(source, pivot)
    masses = [m.numpy() for m in steps.masses(torch.tensor(rows), torch.tensor(s).long())]
    (parts,) = steps.split(masses, s, np.empty(0, np.int64))
    ids = np.argsort(-rows, axis=1)[:, :k].astype(np.int32)
    logs = np.log(np.take_along_axis(rows, ids, axis=1))
    mapped = vocabulary.build(pivot, source, NO_PAIRS, "statistics").mapped
    alignment = Alignment(*spans.align(pivot, source, p, s))
    ce = -np.log(rows[np.arange(len(s)), s])
    found = MassTransfer.of(pivot, source, mapped)(p, s, alignment, ids, logs, ce, parts)
    _, cuts = cut_texts(source, pivot)
    for first in np.flatnonzero(alignment.begins).tolist():
        begin, count = int(alignment.start[first]), int(alignment.count[first])
        cut = cuts[s[begin]]
        if count == 1 and cut and tuple(p[first : first + len(cut)]) == cut:
            whole = 1.0
            for step in range(len(cut)):
                share = rows[begin][[c[: step + 1] == cut[: step + 1] for c in cuts]].sum()
                row = first + step
                yield found.mass[row][found.ids[row] == p[row]].sum(), share / whole
                whole = share


@pytest.mark.parametrize("pair", ["AB", "BA", "CB"])
def test_short_lists_give_exact_probabilities(pair):
    """Of a source token that the pivot spells with one token or with several."""
    rows = [row for text in TEXTS for row in exact_rows(pair, text, 2)]
    assert len(rows) > 20
    np.testing.assert_allclose(*map(np.array, zip(*rows, strict=True)), atol=5e-3)


def test_a_dump_stores_them_for_a_pivot_and_only_for_it(tmp_path):
    model, pivot = tiny_models.save(tmp_path / "model", "llama"), model_folder(tmp_path / "A", "A")
    dialogues = tiny_models.dialogues(5)
    write_dialogues(tmp_path / "dialogues.parquet", dialogues)
    forward = ForwardOptions(model, tmp_path / "dialogues.parquet", dtype="float32")
    for name, steps in (("plain", None), ("own", model), ("steps", pivot)):
        options = DumpOptions(top_k=3, exact_steps_for=steps, part=2)
        dump_logits(forward, tmp_path / f"{name}.parquet", options)
    plain, own, steps = (tmp_path / f"{name}.parquet" for name in ("plain", "own", "steps"))
    assert plain.read_bytes() == own.read_bytes(), "equal tokenizers need no steps"
    source = load(model, read_provenance(steps)["end_of_turn"])
    texts, cuts = cut_texts(source, load(pivot))
    for row, other in zip(read_logits(steps), read_logits(plain), strict=True):
        np.testing.assert_array_equal(row.top_logprobs, other.top_logprobs)
        assert other.steps is None
        at = 0
        for token, ce in zip(row.response_ids.tolist(), row.token_ce, strict=True):
            first = np.exp(row.steps[1][at : at + len(texts[token])].astype(float))
            assert (np.diff(first) <= 1e-3).all(), "a longer beginning is rarer"
            assert (first >= np.exp(-float(ce)) * 0.99).all(), "the token itself begins so"
            at += len(texts[token])
        assert len(row.steps[1]) == at
        assert len(row.steps[0]) == sum(len(cuts[token]) for token in row.response_ids)
    check_steps(steps, load(pivot))
    with pytest.raises(UserError, match="another tokenizer"):
        check_steps(steps, load(model_folder(tmp_path / "C", "C")))
