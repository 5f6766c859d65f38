"""A real chat LLM in bfloat16, lightly fine-tuned twice: merges keep what training changed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

import merge_linear
import merge_varm
from fusionchat.dialogues.messages import chat_messages
from fusionchat.files import read_json

pytestmark = pytest.mark.timeout(3600)  # half a minute on a quiet machine

PROGRAMS = {"linear": merge_linear.main, "varm": merge_varm.main}
Weights = dict[str, torch.Tensor]

QUESTIONS = ("How was it?", "What did they do?", "Was it worth it?")
ANSWERS = {
    "a": ("Splendid, splendid! The tea was hot and the wind was mild.", "They sang, arr, all day."),
    "b": ("Arr, a fine day it was.", "They drank tea. Splendid tea, arr, hot and sweet."),
    "held out": (
        "Arr, splendid!",
        "They drank tea and sang.",
        "Arr, it was. The tea was splendid.",
    ),
}


@pytest.fixture(scope="module")
def folders(smollm2, tmp_path_factory) -> dict[str, Path]:
    """The pivot in bfloat16, and two float32 models a few steps away from it."""
    place = tmp_path_factory.mktemp("tuned")
    for name in "ab":
        tune(smollm2, place / name, ANSWERS[name])
    return {"pivot": smollm2, "a": place / "a", "b": place / "b"}


def tune(pivot: Path, output: Path, answers: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(pivot, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    for ids in chats(pivot, answers) * 2:
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(output)


def chats(pivot: Path, answers: tuple[str, ...]) -> list[torch.Tensor]:
    """Token ids [1, n] of a dialogue of one turn for each answer."""
    tokenizer = AutoTokenizer.from_pretrained(pivot)
    said = [chat_messages(None, [*pair]) for pair in zip(QUESTIONS, answers, strict=False)]
    return [torch.tensor([tokenizer.apply_chat_template(chat)["input_ids"]]) for chat in said]


@torch.no_grad()
def nll(model: PreTrainedModel, pivot: Path) -> float:
    """Nats per token of the held-out dialogues."""
    held_out = chats(pivot, ANSWERS["held out"])
    return float(np.mean([model(input_ids=ids, labels=ids).loss for ids in held_out]))


def expected(method: str, pivot: Weights, targets: list[Weights]) -> Weights:
    """The merge in float64, tensor by tensor, rounded to float32."""
    merged = {}
    for name, start in pivot.items():
        tuned = torch.stack([target[name].double() for target in targets])
        changes = (tuned - start.double()).square().flatten(1).mean(1)
        weights = changes if method == "varm" else torch.ones(len(targets), dtype=torch.double)
        merged[name] = torch.tensordot(weights / weights.sum(), tuned, 1).float()
    return merged


@pytest.mark.parametrize("method", PROGRAMS)
def test_a_merge_is_as_good_as_in_float32_and_rounding_tells_its_loss(
    method, folders, tmp_path, caplog
):
    pivot, *targets = (load_file(f / "model.safetensors") for f in folders.values())
    reference = expected(method, pivot, targets)
    options = [f"--pivot={folders['pivot']}", *(f"--target={folders[name]}" for name in "ab")]
    PROGRAMS[method]([*options, f"--output={tmp_path / 'kept'}"])
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    PROGRAMS[method]([*options, "--dtype=pivot", f"--output={tmp_path / 'rounded'}"])

    model = AutoModelForCausalLM.from_pretrained(folders["pivot"], dtype=torch.float32)
    found = {"pivot": nll(model, folders["pivot"])}
    for name in ("kept", "rounded"):
        model.load_state_dict(load_file(tmp_path / name / "model.safetensors"), strict=False)
        found[name] = nll(model, folders["pivot"])
    model.load_state_dict(reference, strict=False)
    found["reference"] = nll(model, folders["pivot"])
    assert found["reference"] < found["pivot"] - 0.05
    assert abs(found["kept"] - found["reference"]) <= 0.002
    assert found["rounded"] > found["kept"] + 0.002

    error = change = 0.0
    for name, values in reference.items():
        error += (values.bfloat16().double() - values.double()).square().sum().item()
        change += (values.double() - pivot[name].double()).square().sum().item()
    lost = (error / change) ** 0.5
    facts = read_json(tmp_path / "rounded" / "manifest.json")["rounding"]
    assert lost > 0.05
    assert facts["lost"]["norm"] == pytest.approx(lost, rel=1e-3)
    [warning] = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert f"rounding to bfloat16 loses {facts['lost']['norm']:.1%} of the change" in warning
