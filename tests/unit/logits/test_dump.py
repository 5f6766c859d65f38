"""Scores of the chunked forward equal those of a plain forward with full logits."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from transformers import AutoModelForCausalLM

from fusionchat.dialogues.conversation import response_bytes
from fusionchat.errors import UserError
from fusionchat.logits import dump
from fusionchat.logits.store import response_positions
from fusionchat.models.causal_lm import CausalLM
from fusionchat.models.loading import load_causal_lm
from fusionchat.models.tokenizer import check_vocabulary

RENDERER = tiny_models.renderer()
K = 10


def settings(budget: int = 300, **options) -> dump.Settings:
    return dump.Settings(budget, top_k=K, **options)


def plain(model, encoded) -> torch.Tensor:
    """Log-softmax [N, V] that predicts each response token: one dialogue, full logits."""
    with torch.no_grad():
        logits = model(torch.from_numpy(encoded.input_ids).long()[None]).logits[0].float()
    return torch.log_softmax(logits, -1)[response_positions(encoded.spans) - 1]


@pytest.mark.parametrize("kind", tiny_models.CONFIGS)
def test_scores_equal_the_plain_forward(kind, monkeypatch):
    monkeypatch.setitem(dump.CHUNK_ELEMENTS, "cpu", 3000)  # several chunks a batch
    monkeypatch.setattr(dump, "MINIMUM_ROWS", 4)
    dialogues = tiny_models.dialogues(12, seed=3)
    expected = [plain(tiny_models.build(kind), RENDERER.encode(d)) for d in dialogues]
    model = CausalLM(tiny_models.build(kind))
    for budget in (1, 300, 100_000):
        rows = dump.dump(model, RENDERER, dialogues, settings(budget))
        for row, truth in zip(rows, expected, strict=True):
            check_row(row, truth)


def check_row(row, truth: torch.Tensor) -> None:
    """The bound of the store: float16 of the exact values, ids equal except for ties."""
    logprobs = torch.from_numpy(row.top_logprobs.astype(np.float32))
    ids = torch.from_numpy(row.top_ids.copy()).long()
    exact = truth.topk(K, dim=-1).values
    bound = 2**-11 * exact.abs() + 1e-4
    assert ((logprobs - exact).abs() <= bound).all()
    assert ((truth.gather(-1, ids) - exact).abs() <= bound).all()
    assert all(len(set(line)) == K for line in row.top_ids.tolist())
    gold = -truth.gather(-1, torch.from_numpy(row.response_ids.copy()).long()[:, None])[:, 0]
    token_ce = torch.from_numpy(row.token_ce.astype(np.float32))
    assert ((token_ce - gold).abs() <= 2**-11 * gold + 1e-4).all()
    assert row.ce == pytest.approx(gold.mean().item(), abs=1e-4)


def test_batches_keep_the_budget_and_everything():
    lengths = np.random.default_rng(0).integers(1, 90, 200).tolist()
    groups = dump.batches(lengths, 256)
    assert sorted(i for group in groups for i in group) == list(range(200))
    assert all(len(g) * max(lengths[i] for i in g) <= 256 for g in groups)
    assert dump.batches([9, 5], 4) == [[0], [1]]
    padded = sum(len(g) * max(lengths[i] for i in g) for g in groups)
    assert padded < 1.1 * sum(lengths)


@pytest.mark.parametrize("kind", ["mistral", "mixtral"])
def test_nan_stays_in_its_dialogue(kind):
    dialogues = tiny_models.dialogues(30, seed=4)
    encoded = [RENDERER.encode(d).input_ids for d in dialogues]
    counts = np.bincount(np.concatenate([np.unique(ids) for ids in encoded]))
    poison = int(np.argmin(np.where(counts > 3, counts, 99)))
    sound = dump.dump(CausalLM(tiny_models.build(kind)), RENDERER, dialogues, settings())
    broken = tiny_models.build(kind)
    broken.get_input_embeddings().weight.data[poison] = float("nan")
    model = CausalLM(broken)
    rows = dump.dump(model, RENDERER, dialogues, settings())
    assert {row.usable for row in rows} == {True, False}
    for row, reference, ids in zip(rows, sound, encoded, strict=True):
        assert row.usable == (poison not in ids)
        assert row.top_ids.shape == reference.top_ids.shape
        if row.usable:
            np.testing.assert_array_equal(row.top_ids, reference.top_ids)
        else:
            assert np.isneginf(row.top_logprobs).all()
            assert np.isnan([row.ce, row.ce_byte, *row.token_ce]).all()
    facts = dump.measure_nll(model, RENDERER, dialogues, settings())
    assert len(facts["unusable"]) == sum(not row.usable for row in rows)
    assert np.isfinite(facts["nll"])
    json.dumps(facts, allow_nan=False)


def test_bfloat16_keeps_the_head_in_float32():
    dialogues = tiny_models.dialogues(4)
    network = tiny_models.build("qwen2").bfloat16()
    tied = network.get_input_embeddings().weight.requires_grad_(False)
    encoded = RENDERER.encode(dialogues[0])
    with torch.no_grad():
        hidden = network.model(torch.from_numpy(encoded.input_ids).long()[None])[0][0]
    exact = torch.log_softmax(hidden.float() @ tied.float().T, -1)
    exact = exact[response_positions(encoded.spans) - 1].topk(K, dim=-1).values
    model = CausalLM(network)
    row = dump.dump(model, RENDERER, dialogues, settings())[0]
    assert tied.dtype == torch.bfloat16
    assert np.abs(row.top_logprobs - exact.numpy()).max() < 0.2  # attention in another order
    single = dump.dump(model, RENDERER, dialogues[:1], settings())[0]
    np.testing.assert_allclose(single.top_logprobs, exact.numpy(), rtol=2**-10, atol=1e-4)


def test_what_is_longer_than_the_model_can_take_is_recorded():
    dialogues = tiny_models.dialogues(20)
    model = CausalLM(tiny_models.build("llama"))
    rows = dump.dump(model, RENDERER, dialogues, settings(max_length=150))
    assert [row.usable for row in rows] == [len(row.input_ids) <= 150 for row in rows]
    assert {row.usable for row in rows} == {True, False}


def test_nats_are_per_token_and_per_byte():
    dialogues = tiny_models.dialogues(6)
    model = CausalLM(tiny_models.build("llama"))
    rows = dump.dump(model, RENDERER, dialogues, settings())
    facts = dump.measure_nll(model, RENDERER, dialogues, settings())
    tokens = [len(row.token_ce) for row in rows]
    sizes = [sum(len(answer.encode()) + 1 for _, answer in d.turns) for d in dialogues]
    assert [row[3:] for row in facts["per_dialogue"]] == [
        list(x) for x in zip(tokens, sizes, strict=True)
    ]
    assert sizes == [response_bytes(d) for d in dialogues]
    for row, size, record in zip(rows, sizes, facts["per_dialogue"], strict=True):
        assert row.ce_byte * size == pytest.approx(row.ce * len(row.token_ce))
        assert record[2] == pytest.approx(row.ce * record[3])
    nats = sum(record[2] for record in facts["per_dialogue"])
    assert facts["nll"] == pytest.approx(nats / sum(tokens))
    assert facts["nll_byte"] == pytest.approx(nats / sum(sizes))


def test_a_tokenizer_with_more_ids_than_the_model_is_refused():
    config = tiny_models.CONFIGS["llama"](100)
    with pytest.raises(UserError, match=r"m: .* do not belong together"):
        check_vocabulary(config, tiny_models.tokenizer(), Path("m"))


def test_more_entries_than_the_vocabulary_has():
    model = CausalLM(tiny_models.build("llama"))
    rows = dump.dump(model, RENDERER, tiny_models.dialogues(2), dump.Settings(300, top_k=1000))
    assert rows[0].top_ids.shape[1] == model.vocab_size
    mass = np.exp(rows[0].top_logprobs.astype(np.float64)).sum(1)
    np.testing.assert_allclose(mass, 1, atol=2e-3)


def test_layers_may_lie_on_several_devices(tmp_path):
    """As with several GPUs: here one layer's weights are brought from the disk when needed."""
    folder = tiny_models.save(tmp_path / "m", "llama")
    places = dict.fromkeys(("model.embed_tokens", "model.rotary_emb", "model.norm"), "cpu")
    places |= {"model.layers.0": "cpu", "model.layers.1": "disk", "lm_head": "cpu"}
    network = AutoModelForCausalLM.from_pretrained(
        folder, device_map=places, offload_folder=tmp_path / "offload"
    )
    dialogues = tiny_models.dialogues(5)
    spread = dump.dump(CausalLM(network), RENDERER, dialogues, settings())
    whole = load_causal_lm(folder, "float32")
    for row, expected in zip(
        spread, dump.dump(whole, RENDERER, dialogues, settings()), strict=True
    ):
        np.testing.assert_array_equal(row.top_ids, expected.top_ids)
        np.testing.assert_allclose(row.top_logprobs, expected.top_logprobs, rtol=2**-10, atol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "mixtral", "opt"])
def test_a_dump_advances_within_a_batch_by_as_much_as_is_done(kind):
    dialogues, heard = tiny_models.dialogues(6), []
    model = CausalLM(tiny_models.build(kind))
    dump.dump(model, RENDERER, dialogues, settings(100_000), heard.append)
    assert len(heard) == 2 + 1  # layers and head of the one batch
    assert sum(heard) == pytest.approx(6)
    assert not model.backbone.layers[0]._forward_hooks
