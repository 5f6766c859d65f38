"""Training text, token ids and labels equal those of the released training code."""

import json
from itertools import chain
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from fusionchat.dialogues.conversation import truncate
from fusionchat.dialogues.dialogue import Dialogue
from fusionchat.dialogues.formats import parse_conversations
from fusionchat.dialogues.messages import as_messages
from fusionchat.dialogues.options import RenderingOptions
from fusionchat.dialogues.renderer import make_renderer
from fusionchat.dialogues.templates import render


def test_rendered_text_ids_and_labels(golden: Path):
    folder = golden / "labels"
    expected = json.loads((folder / "openchat_labels.json").read_text())
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), eos_token=expected["eos_token"]
    )
    tokenizer.bos_token = tokenizer.convert_ids_to_tokens(expected["bos_token_id"])
    renderer = make_renderer(tokenizer, RenderingOptions("openchat_3.5"))
    assert expected["cases"]
    for case in expected["cases"]:
        dialogue = Dialogue("case", parse_conversations(case["conversations"]).turns)
        encoded = truncate(renderer.encode(dialogue), expected["model_max_length"])
        messages = as_messages(chain(*dialogue.turns))
        assert render(renderer.template, messages, renderer.spelling).text == case["rendered"]
        assert encoded.input_ids.tolist() == case["input_ids"]
        assert encoded.labels().tolist() == case["labels"]
