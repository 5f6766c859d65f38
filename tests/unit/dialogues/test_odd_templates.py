"""Chat templates that say BOS twice, know no generation prompt, or come in several versions."""

import copy
from pathlib import Path

import pytest
import tiny_models

from fusionchat.dialogues.dialogue import Dialogue
from fusionchat.dialogues.end_of_turn import tokenizer_template
from fusionchat.dialogues.options import RenderingOptions
from fusionchat.dialogues.renderer import Renderer, make_renderer
from fusionchat.errors import UserError

TURN = "{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}\n"
LOOP = "{% for m in messages %}" + TURN + "{% endfor %}"
OPEN = "{% if add_generation_prompt %}assistant: {% endif %}"
# As Llama 2's: BOS before every question, and no header that asks for an answer.
EACH_TURN = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token }}[INST] {{ m['content'] }}"
    " [/INST]{% else %} {{ m['content'] }} {{ eos_token }}{% endif %}{% endfor %}"
)
DIALOGUE = Dialogue("d", (("sum two", "two"), ("list", "a the"), ("three", "12")))


def renderer_of(template: str | dict[str, str]) -> Renderer:
    tokenizer = copy.deepcopy(tiny_models.tokenizer())
    tokenizer.chat_template = template
    return make_renderer(tokenizer, RenderingOptions("tokenizer"))


@pytest.mark.parametrize("template", [LOOP + OPEN, "{{ bos_token }}" + LOOP, LOOP, EACH_TURN])
def test_prompts_begin_the_training_ids_and_the_end_of_turn_is_learnt(template: str):
    renderer = renderer_of(template)
    encoded = renderer.encode(DIALOGUE)
    ids, texts = encoded.input_ids.tolist(), [text for turn in DIALOGUE.turns for text in turn]
    for turn, (start, length) in enumerate(encoded.spans.tolist()):
        assert list(renderer.prompt(texts[: 2 * turn + 1]).ids) == ids[:start]
        assert ids[start + length - 1] == renderer.tokenizer.eos_token_id
    bos = renderer.tokenizer.bos_token_id
    assert [one == bos for one in ids[:2]] == ["bos_token" in template, False]


@pytest.mark.parametrize("start", ["{{ bos_token }}{{ bos_token }}", "<s>{{ bos_token }}"])
def test_a_template_that_begins_with_bos_twice_is_refused(start: str):
    renderer = renderer_of(start + LOOP + OPEN)
    for call in (lambda: renderer.encode(DIALOGUE), lambda: renderer.prompt(["list"])):
        with pytest.raises(UserError, match=r"begins with <s> twice"):
            call()


def test_the_default_of_several_templates_is_taken_and_none_is_refused():
    assert tokenizer_template(renderer_of({"default": LOOP, "tool_use": "x"}).tokenizer).source
    with pytest.raises(UserError, match=r"several chat templates and no default; save the one"):
        renderer_of({"rag": LOOP, "tool_use": LOOP})


def test_a_byte_order_mark_of_a_template_file_does_not_reach_the_model(tmp_path: Path):
    file = tmp_path / "chat.jinja"
    file.write_text(LOOP + OPEN, encoding="utf-8-sig")
    renderer = make_renderer(tiny_models.tokenizer(), RenderingOptions(str(file)))
    assert renderer.prompt(["list"]).text.startswith("user: list")
