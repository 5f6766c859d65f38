"""Batched decoding against the library's, one prompt at a time; sampling and its noise."""

import random
import weakref

import pytest
import torch
from mt_bench_models import checkpoint
from scipy import stats
from transformers import AutoModelForCausalLM, Cache, DynamicCache
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper

from fusionchat.mt_bench.answering import generation, growing_cache
from fusionchat.mt_bench.answering.dialogue_engine import Request
from fusionchat.mt_bench.answering.generation import generate
from fusionchat.mt_bench.answering.growing_cache import GrowingLayer, join, new_cache
from fusionchat.mt_bench.answering.sampling import choose_tokens, gumbel_noise
from fusionchat.mt_bench.answering.stream_key import stream_key

STOP = {1}


@pytest.fixture(scope="module", params=["mistral", "mixtral", "window"])
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "window":
        checkpoint(folder, sliding_window=8)
    else:
        checkpoint(folder, request.param)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def requests(count: int, temperature: float = 0.0) -> list[Request]:
    draw = random.Random(5)
    return [
        Request(
            tuple(draw.randrange(2, 300) for _ in range(draw.randrange(3, 30))),
            temperature,
            stream_key(0, i, 0, 0),
        )
        for i in range(count)
    ]


def run(model, wanted, batch_size=8, max_new_tokens=24):
    return generate(
        model, wanted, max_new_tokens=max_new_tokens, stop_ids=STOP, batch_size=batch_size
    )


def test_greedy_answers_are_those_of_one_prompt_at_a_time(model):
    wanted = requests(20)
    for request, completion in zip(wanted, run(model, wanted), strict=True):
        prompt = torch.tensor([request.input_ids])
        expected = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            max_new_tokens=24,
            eos_token_id=1,
            pad_token_id=1,
        )[0, prompt.shape[1] :].tolist()
        stopped = expected[-1] == 1
        assert list(completion.token_ids) == (expected[:-1] if stopped else expected)
        assert completion.finish == ("stop" if stopped else "length")


def test_some_answers_end_early_and_some_at_the_limit(model):
    ends = {completion.finish for completion in run(model, requests(20, 0.7))}
    assert ends == {"stop", "length"}


def test_sampled_answers_depend_on_neither_batch_size_nor_order(model):
    wanted = requests(24, 0.7)
    first = run(model, wanted, batch_size=24)
    assert len({c.token_ids for c in first}) > 20
    assert run(model, wanted, batch_size=1) == first
    assert run(model, wanted, batch_size=7) == first
    assert run(model, wanted[::-1], batch_size=5) == first[::-1]


def test_finished_rows_leave_the_batch(model, monkeypatch):
    sizes = []
    forward = generation._Batch._forward

    def watched(self, ids, *others):
        sizes.append(len(ids))
        return forward(self, ids, *others)

    monkeypatch.setattr(generation._Batch, "_forward", watched)
    run(model, requests(24, 0.7), batch_size=24)
    assert sizes[0] == 24
    assert sizes[-1] < 24


def test_the_context_limits_an_answer(tmp_path):
    checkpoint(tmp_path, max_position_embeddings=20)
    model = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = tuple(range(2, 27))
    wanted = [Request(ids[:n], 0.0, 0) for n in (4, 16, 20, 25)]
    done = generate(model, wanted, max_new_tokens=8, stop_ids=set(), batch_size=4)
    assert [(len(c.token_ids), c.finish) for c in done] == [
        (8, "length"),
        (4, "context"),
        (0, "context"),
        (0, "context"),
    ]


def test_the_growing_cache_returns_what_the_stock_one_returns():
    stock, ours = DynamicCache(), GrowingLayer()
    for length in (5, 1, 1, 70, 1):
        states = torch.randn(2, 3, 2, length, 4)
        expected = stock.update(states[0], states[1], 0)
        found = ours.update(states[0], states[1])
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    keep = torch.tensor([2, 0])
    ours.batch_select_indices(keep)
    assert torch.equal(ours.keys, expected[0][keep])
    states = torch.randn(2, 2, 2, 1, 4)
    found = ours.update(states[0], states[1])[1]
    assert torch.equal(found, torch.cat([expected[1][keep], states[1]], 2))
    assert ours.get_seq_length() == 79


def test_joined_caches_hold_all_rows_padded_on_the_left():
    caches, states = [], []
    for rows, width in ((1, 5), (2, 3)):
        cache = Cache(layer_class_to_replicate=GrowingLayer)
        states.append(torch.randn(2, rows, 2, width, 4))
        cache.update(*states[-1], layer_idx=0)
        caches.append(cache)
    parts = [weakref.ref(cache.layers[0]) for cache in caches]
    keys = join(caches, [5, 3]).layers[0].keys
    assert [part() for part in parts] == [None, None]
    assert keys.shape == (3, 2, 5, 4)
    assert torch.equal(keys[:1], states[0][0])
    assert torch.equal(keys[1:, :, 2:], states[1][0])


def test_other_kinds_of_attention_are_decoded_with_the_stock_cache(model, monkeypatch):
    wanted = requests(9, 0.7)
    expected = run(model, wanted)
    assert new_cache(model).layer_class_to_replicate is GrowingLayer
    monkeypatch.setattr(growing_cache, "DynamicSlidingWindowLayer", type(None))
    monkeypatch.setattr(growing_cache, "DynamicLayer", type(None))
    assert isinstance(new_cache(model), DynamicCache)
    assert run(model, wanted) == expected


def test_prompts_are_run_in_groups_of_bounded_size(model, monkeypatch):
    wanted = requests(20, 0.7)
    expected = run(model, wanted, batch_size=20)
    monkeypatch.setattr(generation, "PREFILL_TOKENS", 60)
    groups = list(generation.prefill_groups(sorted(wanted, key=lambda r: -len(r.input_ids))))
    assert sum(len(group) for group in groups) == 20
    assert all(len(g) * len(g[0].input_ids) <= 60 for g in groups)
    assert run(model, wanted, batch_size=20) == expected


def test_noise_is_gumbel_and_differs_between_keys_and_steps():
    keys = torch.tensor([stream_key(0, q, 0, 0) for q in range(40)])
    noise = gumbel_noise(keys, torch.zeros(40, dtype=torch.int64), 1000)
    assert stats.kstest(noise.flatten().numpy(), "gumbel_r").pvalue > 1e-3
    later = gumbel_noise(keys, torch.ones(40, dtype=torch.int64), 1000)
    for other in (later, noise.roll(1, 0), noise.roll(1, 1)):
        correlation = torch.corrcoef(torch.stack([noise.flatten(), other.flatten()]))[0, 1]
        assert abs(correlation) < 0.02
    assert torch.isfinite(noise).all()


def test_noise_of_a_token_does_not_depend_on_what_is_drawn_with_it():
    keys = torch.tensor([11, 12, 13])
    steps = torch.tensor([5, 6, 7])
    together = gumbel_noise(keys, steps, 100)
    assert torch.equal(gumbel_noise(keys[1:2], steps[1:2], 50), together[1:2, :50])


def test_sampling_follows_the_softmax():
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    count, temperature = 20000, 0.7
    keys = torch.tensor([stream_key(1, i) for i in range(count)])
    chosen = choose_tokens(
        logits.expand(count, -1),
        torch.full((count,), temperature),
        keys,
        torch.zeros(count, dtype=torch.int64),
    )
    expected = torch.softmax(logits / temperature, 0) * count
    found = torch.bincount(chosen, minlength=4)
    assert stats.chisquare(found.numpy(), expected.numpy()).pvalue > 1e-3


def test_only_the_most_probable_tokens_are_sampled_as_the_librarys_default_does():
    count, temperature, top_k = 20000, 2.0, 3
    logits = torch.tensor([0.0, 1.0, 0.5, -1.0, 0.9])
    keys = torch.tensor([stream_key(2, i) for i in range(count)])
    steps = torch.zeros(count, dtype=torch.int64)
    temperatures = torch.full((count,), temperature)
    chosen = choose_tokens(logits.expand(count, -1), temperatures, keys, steps, top_k)
    scores = TemperatureLogitsWarper(temperature)(None, logits[None])
    expected = torch.softmax(TopKLogitsWarper(top_k)(None, scores)[0], 0) * count
    found = torch.bincount(chosen, minlength=5)
    assert found[[0, 3]].tolist() == [0, 0]
    kept = expected > 0
    assert stats.chisquare(found[kept].numpy(), expected[kept].numpy()).pvalue > 1e-3
    everything = choose_tokens(logits.expand(count, -1), temperatures, keys, steps, 50)
    assert torch.equal(
        everything, choose_tokens(logits.expand(count, -1), temperatures, keys, steps)
    )


def test_greedy_and_sampled_rows_mix():
    logits = torch.tensor([[0.0, 1.0], [0.0, 1.0]]).repeat(200, 1)
    temperatures = torch.tensor([0.0, 5.0]).repeat(200)
    keys = torch.arange(400)
    chosen = choose_tokens(logits, temperatures, keys, torch.zeros(400, dtype=torch.int64))
    assert chosen[::2].eq(1).all()
    assert not chosen[1::2].eq(1).all()
