"""Batches: right tokens at right places, no dialogue lost or doubled, whatever the split."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionchat.dialogues.conversation import Encoded
from fusionchat.logits.store import DialogueLogits
from fusionchat.training.collator import (
    Collator,
    EpochLoader,
    Example,
    Examples,
    GlobalBatchSampler,
    example_from_fused,
    example_from_tokens,
)

PAD = 99


def fused_row(length: int, spans, k=3, seed=0):
    rng = np.random.default_rng(seed)
    spans = np.array(spans, dtype=np.int32)
    count = int(spans[:, 1].sum())
    return DialogueLogits(
        f"d{seed}",
        rng.integers(0, 90, length).astype(np.int32),
        spans,
        rng.integers(0, 90, (count, k)).astype(np.int32),
        rng.normal(size=(count, k)).astype(np.float16),
        np.zeros(count, np.float16),
        1.0,
        1.0,
    )


ROWS = [fused_row(9, [(2, 2), (6, 3)], seed=1), fused_row(5, [(3, 2)], k=2, seed=2)]


@pytest.mark.parametrize("batching", ["padded", "packed"])
def test_every_response_token_meets_its_predecessor_and_its_teacher(batching):
    examples = [example_from_fused(row, 100) for row in ROWS]
    batch = Collator(PAD, batching)(examples)
    flat = batch["input_ids"].flatten()
    expected = np.concatenate([row.response_ids for row in ROWS])
    before = np.concatenate(
        [row.input_ids[e.responses - 1] for row, e in zip(ROWS, examples, strict=True)]
    )
    assert batch["targets"].tolist() == expected.tolist()
    assert flat[batch["positions"] + 1].tolist() == expected.tolist()
    assert flat[batch["positions"]].tolist() == before.tolist()
    trained = batch["labels"].flatten()
    assert trained[trained != -100].tolist() == expected.tolist()
    assert batch["top_ids"].shape == batch["top_logprobs"].shape == (7, 3)
    assert batch["top_ids"][:5].tolist() == ROWS[0].top_ids.tolist()
    assert np.isneginf(batch["top_logprobs"][5:, 2].numpy()).all()


def test_padding_is_masked_and_packing_restarts_positions():
    examples = [example_from_fused(row, 100) for row in ROWS]
    padded = Collator(PAD)(examples)
    assert padded["attention_mask"].sum(dim=1).tolist() == [9, 5]
    assert (padded["input_ids"][padded["attention_mask"] == 0] == PAD).all()
    packed = Collator(PAD, "packed")(examples)
    assert packed["input_ids"].shape == (1, 14)
    assert "attention_mask" not in packed
    assert packed["position_ids"][0].tolist() == [*range(9), *range(5)]


@pytest.mark.parametrize("batching", ["padded", "packed"])
def test_no_dialogue_at_all_is_a_batch_without_response_tokens(batching):
    batch = Collator(PAD, batching)([])
    assert batch["targets"].numel() == 0
    assert (batch["labels"] == -100).all()


def test_too_long_dialogues_are_cut_with_and_without_teacher_alike():
    row = ROWS[0]
    for length in (9, 8, 7, 6, 4, 3):
        fused = example_from_fused(row, length)
        plain = example_from_tokens(Encoded(row.input_ids, row.spans), length)
        assert (
            fused.input_ids.tolist() == plain.input_ids.tolist() == row.input_ids[:length].tolist()
        )
        assert fused.responses.tolist() == plain.responses.tolist()
        assert len(fused.top_ids) == len(fused.top_logprobs) == len(fused.responses)
    assert len(Examples([example_from_fused(row, 2)])) == 0


@given(
    count=st.integers(1, 60),
    accumulation=st.integers(1, 3),
    micro=st.integers(1, 4),
    world=st.integers(1, 3),
    epoch=st.integers(0, 3),
)
def test_global_batches_do_not_depend_on_the_split(count, accumulation, micro, world, epoch):
    lengths = np.random.default_rng(count).integers(1, 50, count)
    size = accumulation * micro * world
    ranks = []
    for rank in range(world):
        sampler = GlobalBatchSampler(
            lengths, global_batch=size, micro_batch=micro, rank=rank, world_size=world, seed=7
        )
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert len(batches) % accumulation == 0
        ranks.append(batches)
    whole = GlobalBatchSampler(lengths, global_batch=size, micro_batch=size, seed=7)
    whole.set_epoch(epoch)
    seen = []
    for step, expected in enumerate(whole):
        parts = slice(step * accumulation, (step + 1) * accumulation)
        found = [index for rank in ranks for batch in rank[parts] for index in batch]
        assert sorted(found) == sorted(expected)
        seen += found
    assert sorted(seen) == list(range(count))


def test_epochs_and_seeds_shuffle_differently_and_micro_batches_are_alike_in_length():
    lengths = np.arange(1, 257)
    sampler = GlobalBatchSampler(lengths, global_batch=128, micro_batch=4, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first
    other = GlobalBatchSampler(lengths, global_batch=128, micro_batch=4, seed=2)
    assert list(other) != first
    spread = [lengths[batch].max() - lengths[batch].min() for batch in first]
    assert np.mean(spread) < 20


def test_the_loader_tells_its_sampler_the_epoch():
    examples = Examples(Example(np.arange(3), np.array([1])) for _ in range(8))
    sampler = GlobalBatchSampler(examples.lengths(), global_batch=4, micro_batch=2)
    loader = EpochLoader(examples, batch_sampler=sampler, collate_fn=Collator(PAD))
    before = list(sampler)
    loader.set_epoch(3)
    assert list(sampler) != before
    assert len(list(loader)) == len(loader) == 4


def test_a_batch_that_cannot_be_split_is_refused():
    with pytest.raises(ValueError, match="multiple"):
        GlobalBatchSampler(np.ones(4), global_batch=6, micro_batch=4)
