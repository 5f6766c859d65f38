"""Chat templates around the goldens: other separators, empty answers."""

import numpy as np
import tiny_models

from fusionchat.dialogues.conversation import encode_dialogue, render, response_bytes
from fusionchat.dialogues.dialogue import Dialogue
from fusionchat.logits import dump
from fusionchat.models.loading import CausalLM

END = "<eot>"


def responses(template: str, *turns: tuple[str, str]) -> list[str]:
    text, places = render(turns, template, END)
    return [text[start:stop] for start, stop in places]


def test_the_end_of_turn_stands_where_a_template_ends_answers():
    turns = (("hi", "yo"), ("and", "so"))
    assert responses("openchat_3.5", *turns) == [" yo<eot>", " so<eot>"]
    assert responses("OpenHermes-2.5-Mistral-7B", *turns) == ["yo<eot>", "so<eot>"]
    assert responses("vicuna_v1.1", *turns) == [" yo<eot>", " so<eot>"]
    text, _ = render(turns, "vicuna_v1.1", END)
    assert "USER: hi ASSISTANT: yo<eot>USER: and" in text


def test_an_empty_answer_has_no_tokens_and_no_bytes():
    dialogue = Dialogue("d", (("hi", ""), ("and", "so"), ("on", "")))
    tokenizer = tiny_models.tokenizer()
    encoded = encode_dialogue(tokenizer, dialogue, "openchat_3.5")
    assert encoded.spans[:, 1].tolist()[::2] == [0, 0]
    model = CausalLM(tiny_models.build("llama"))
    (row,) = dump.dump(model, tokenizer, [dialogue], dump.Settings("openchat_3.5", 300, top_k=4))
    assert len(row.token_ce) == encoded.spans[1, 1] > 0
    assert response_bytes(dialogue) == 3
    assert np.isclose(row.ce_byte * 3, row.ce * len(row.token_ce))
