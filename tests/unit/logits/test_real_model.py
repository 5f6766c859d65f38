"""The dump and the held-out likelihood of a real chat LLM in its own chat format."""

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import dump_logits
import measure_nll
from fusionchat.dialogues.dialogue import Dialogue, write_dialogues
from fusionchat.dialogues.messages import chat_messages
from fusionchat.logits.store import read_logits, read_provenance

DIALOGUES = [
    Dialogue("a", (("What is 12 * 3?", "12 * 3 = 36."),)),
    Dialogue(
        "b", (("Name a river.", "The Nile."), ("Where is it?", "In Africa.\n\nIt flows north."))
    ),
    Dialogue(
        "c", (("Write a haiku.", "Orange leaves at dawn,\nthe old gate forgets its shape,\nrain."),)
    ),
    Dialogue("d", (("Hi", "Hello! How can I help you today?"), ("Who are you?", "I am SmolLM."))),
    Dialogue("e", (("Sort 3, 1, 2.", "1, 2, 3"), ("Reverse it.", "3, 2, 1"), ("Sum?", "6"))),
    Dialogue("f", (("Translate: Guten Tag", "Good day"),), system="You translate German."),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    write_dialogues(folder / "dialogues.parquet", DIALOGUES)
    return folder


@pytest.fixture(scope="module")
def expected(smollm2):
    """Nats of each response token, by transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    return {one.dialogue_id: response_nats(model, tokenizer, one) for one in DIALOGUES}


def response_nats(model, tokenizer, dialogue: Dialogue) -> np.ndarray:
    texts = list(chain(*dialogue.turns))
    chat = chat_messages(dialogue.system, texts)
    ids = torch.tensor(tokenizer.apply_chat_template(chat)["input_ids"])
    learnt = torch.zeros(len(ids), dtype=torch.bool)
    for turn in range(len(dialogue.turns)):
        said = chat_messages(dialogue.system, texts[: 2 * turn + 1])
        prompt = tokenizer.apply_chat_template(said, add_generation_prompt=True)["input_ids"]
        said = chat_messages(dialogue.system, texts[: 2 * turn + 2])
        answered = tokenizer.apply_chat_template(said)["input_ids"]
        learnt[len(prompt) : len(answered) - 1] = True  # the line break behind the end of turn
    with torch.no_grad():
        logprobs = torch.log_softmax(model(ids[None]).logits[0], dim=-1)
    nats = -logprobs[:-1].gather(1, ids[1:, None])[:, 0]
    return nats[learnt[1:]].numpy()


def options(files: Path, smollm2: Path) -> list[str]:
    files = [f"--model={smollm2}", f"--dialogues={files / 'dialogues.parquet'}"]
    return [*files, "--template=tokenizer", "--token-budget=512"]


def test_the_dump_of_a_real_model_equals_an_independent_computation(files, smollm2, expected):
    store = files / "dump.parquet"
    dump_logits.main([*options(files, smollm2), "--dtype=float32", f"--output={store}"])
    rows = {row.dialogue_id: row for row in read_logits(store)}
    assert rows.keys() == expected.keys()
    for name, nats in expected.items():
        assert len(rows[name].token_ce) == len(nats)
        np.testing.assert_allclose(rows[name].token_ce, nats, atol=0.01, rtol=2**-10)
        assert rows[name].ce == pytest.approx(nats.mean(), abs=1e-4)
    assert read_provenance(store)["end_of_turn"] == "<|im_end|>"


def test_the_likelihood_of_a_real_model_equals_an_independent_computation(files, smollm2, expected):
    measure_nll.main([*options(files, smollm2), f"--output={files / 'nll.json'}"])
    facts = json.loads((files / "nll.json").read_text())
    assert facts["nll"] == pytest.approx(np.concatenate(list(expected.values())).mean(), abs=1e-4)
    assert facts["unusable"] == []
