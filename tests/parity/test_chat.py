"""Training text, token ids and labels equal those of the released training code."""

import json
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from fusionchat.dialogues.conversation import encode_dialogue, render, truncate
from fusionchat.dialogues.dialogue import Dialogue, parse_conversations


def test_rendered_text_ids_and_labels(golden: Path):
    folder = golden / "labels"
    expected = json.loads((folder / "openchat_labels.json").read_text())
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), eos_token=expected["eos_token"]
    )
    tokenizer.bos_token = tokenizer.convert_ids_to_tokens(expected["bos_token_id"])
    assert expected["cases"]
    for case in expected["cases"]:
        dialogue = Dialogue("case", parse_conversations(case["conversations"]))
        encoded = encode_dialogue(tokenizer, dialogue, "openchat_3.5")
        encoded = truncate(encoded, expected["model_max_length"])
        text, _ = render(dialogue.turns, "openchat_3.5", expected["eos_token"])
        assert text == case["rendered"]
        assert encoded.input_ids.tolist() == case["input_ids"]
        assert encoded.labels().tolist() == case["labels"]
