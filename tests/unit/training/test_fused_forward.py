"""The replaced forward pass against the model's own, for several architectures."""

import numpy as np
import pytest
import tiny_models
import torch

from fusionchat.errors import UserError
from fusionchat.training.collator import Collator, Example
from fusionchat.training.fused_forward import UNKNOWN_HEADS, LossOptions, install

KINDS = ["mistral", "llama", "qwen2", "gemma2"]


def examples(vocabulary: int, count: int = 3, k: int = 5):
    rng = np.random.default_rng(4)
    result = []
    for number in range(count):
        length = 24 - 7 * number
        responses = np.flatnonzero(rng.random(length) < 0.5)
        responses = responses[responses > 0]
        logs = np.log(rng.dirichlet(np.ones(k + 1), len(responses))[:, :k]).astype(np.float16)
        ids = np.stack([rng.permutation(vocabulary)[:k] for _ in responses]).astype(np.int32)
        tokens = rng.integers(3, vocabulary, length).astype(np.int32)
        result.append(Example(tokens, responses, ids, logs))
    return result


def gradients(model):
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("kind", [*KINDS, "recurrent_gemma"])
def test_plain_clm_equals_the_models_own_loss_and_gradients(kind):
    model = tiny_models.build(kind).float()
    batch = Collator(0)(examples(model.config.vocab_size))
    own = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        labels=batch["labels"],
    ).loss
    own.backward()
    expected = gradients(model)
    install(model, LossOptions(rows=7))
    plain = {name: batch[name] for name in batch if not name.startswith("top_")}
    outputs = model(**plain)
    loss = outputs["loss"] / len(batch["targets"])
    loss.backward()
    assert loss.item() == pytest.approx(own.item(), rel=1e-5)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_packed_batches_equal_padded_ones(kind):
    """No attention across dialogues: packing changes neither loss nor gradients."""
    model = tiny_models.build(kind).float()
    install(model, LossOptions(tail=True))
    results = []
    for batching in ("padded", "packed"):
        outputs = model(**Collator(0, batching)(examples(model.config.vocab_size)))
        outputs["loss"].backward()
        results.append((outputs["loss"].item(), gradients(model)))
    (padded, padded_gradients), (packed, packed_gradients) = results
    assert packed == pytest.approx(padded, rel=1e-5)
    for name, gradient in packed_gradients.items():
        torch.testing.assert_close(gradient, padded_gradients[name], rtol=1e-3, atol=1e-5)


def test_gradient_checkpointing_changes_nothing():
    model = tiny_models.build("mistral").float()
    install(model, LossOptions())
    model.train()
    batch = Collator(0)(examples(model.config.vocab_size))
    model(**batch)["loss"].backward()
    expected = gradients(model)
    model.activation_checkpointing_enable()
    model(**batch)["loss"].backward()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected[name])


def test_an_empty_batch_gives_zero_loss_and_zero_gradients_everywhere():
    model = tiny_models.build("mistral").float()
    install(model, LossOptions())
    outputs = model(**Collator(0)([]))
    outputs["loss"].backward()
    assert outputs["loss"].item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_heads_that_are_not_understood_are_refused():
    model = tiny_models.build("llama")
    model.lm_head.bias = torch.nn.Parameter(torch.zeros(model.config.vocab_size))
    with pytest.raises(UserError, match="bias"):
        install(model, LossOptions())
    for name in UNKNOWN_HEADS:
        model = tiny_models.build("llama")
        setattr(model.config, name, 0.5)
        with pytest.raises(UserError, match=name):
            install(model, LossOptions())


def test_a_recurrent_model_is_not_trained_on_packed_batches():
    model = tiny_models.build("recurrent_gemma")
    with pytest.raises(UserError, match="use padded"):
        install(model, LossOptions(), packed=True)
