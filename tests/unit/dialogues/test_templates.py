"""Chat templates as text: what is accepted, what is refused, and where prompts and answers meet."""

import numpy as np
import pytest
import tiny_models
from fastchat.conversation import conv_templates

from fusionchat.dialogues.conversation import response_bytes
from fusionchat.dialogues.dialogue import Dialogue
from fusionchat.dialogues.messages import as_messages
from fusionchat.dialogues.templates import (
    RenderingError,
    SpecialTokens,
    check_template,
    open_template,
    render,
    render_prompt,
)
from fusionchat.logits import dump
from fusionchat.models.causal_lm import CausalLM

END = "<eot>"
TOKENS = SpecialTokens("<bos>", "<eos>", END)
TEXTS = ["hi", "yo", "and\n\nmore", " so ", "why", "because.\n"]
ACCEPTED, REFUSED = [], {}
for _name in sorted(conv_templates):
    try:
        check_template(open_template(_name))
        ACCEPTED.append(_name)
    except RenderingError as _error:
        REFUSED[_name] = str(_error)


def responses(template: str, *texts: str) -> list[str]:
    rendered = render(open_template(template), as_messages(texts), TOKENS)
    return [rendered.text[a:b] for a, b in zip(rendered.starts, rendered.stops, strict=True)]


def test_which_templates_of_fastchat_a_model_can_learn_from():
    assert len(ACCEPTED) == 42
    assert {"openchat_3.5", "llama-2", "mistral", "zephyr", "phoenix", "orca-2"} <= set(ACCEPTED)
    assert {name: reason for name, reason in REFUSED.items() if "\n" in reason} == {}
    for name, reason in (
        ("chatgpt", "cannot render"),
        ("chatglm3", "no token ends an answer"),
        ("solar", "no token ends an answer"),
        ("falcon", "is changed"),
        ("yuan2", "not the beginning of the training text"),
    ):
        assert name in REFUSED[name]
        assert reason in REFUSED[name]


@pytest.mark.parametrize("name", ACCEPTED)
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_prompts_begin_the_training_text_and_answers_end_with_the_end_of_turn(name, turns):
    template, messages = open_template(name), as_messages(TEXTS[: 2 * turns])
    whole = render(template, messages, TOKENS)
    for turn, (start, stop) in enumerate(zip(whole.starts, whole.stops, strict=True)):
        prompt = render_prompt(template, messages[: 2 * turn + 1], TOKENS)
        assert whole.text[:start] == prompt.text
        assert whole.starts[:turn] == prompt.starts
        answer = whole.text[start:stop]
        assert answer.endswith(END)
        assert answer.count(END) == 1
        assert TEXTS[2 * turn + 1] in answer
    assert len(whole.starts) == turns


@pytest.mark.parametrize("name", ACCEPTED)
def test_without_another_end_of_turn_the_text_is_fastchats(name):
    template = open_template(name)
    messages = as_messages(TEXTS)
    assert render(template, messages, SpecialTokens()).text == template.raw(messages, False)


def test_the_end_of_turn_stands_where_a_template_ends_answers():
    assert responses("openchat_3.5", "hi", "yo", "and", "so") == [" yo<eot>", " so<eot>"]
    assert responses("OpenHermes-2.5-Mistral-7B", "hi", "yo", "and", "so") == ["yo<eot>", "so<eot>"]
    assert responses("vicuna_v1.1", "hi", "yo", "and", "so") == [" yo<eot>", " so<eot>"]
    assert responses("phoenix", "hi", "yo") == ["yo<eot>"]
    text = render(open_template("vicuna_v1.1"), as_messages(["hi", "yo", "and", "so"]), TOKENS).text
    assert "USER: hi ASSISTANT: yo<eot>USER: and" in text


def test_begin_of_text_inside_a_template_is_the_tokenizers():
    messages = as_messages(["hi", "yo", "and", "so"])
    text = render(open_template("llama-2"), messages, TOKENS).text
    assert "yo <eot><bos>[INST] and" in text
    kept = render_prompt(open_template("llama-2"), messages[:3], SpecialTokens("<bos>", "<eos>"))
    assert "yo </s><s>[INST] and" in kept.text


def test_a_prompt_of_a_template_that_cannot_be_learnt_is_fastchats():
    template, messages = open_template("falcon"), as_messages(["a\n\nb", "c\n\nd", "e"])
    assert render_prompt(template, messages, TOKENS).text == template.raw(messages, True)
    assert (
        "### User\nhi\n" in render_prompt(open_template("solar"), as_messages(["hi"]), TOKENS).text
    )


def test_an_empty_answer_has_no_tokens_and_no_bytes():
    dialogue = Dialogue("d", (("hi", ""), ("and", "so"), ("on", "")))
    renderer = tiny_models.renderer()
    encoded = renderer.encode(dialogue)
    assert encoded.spans[:, 1].tolist()[::2] == [0, 0]
    model = CausalLM(tiny_models.build("llama"))
    (row,) = dump.dump(model, renderer, [dialogue], dump.Settings(300, top_k=4))
    assert len(row.token_ce) == encoded.spans[1, 1] > 0
    assert response_bytes(dialogue) == 3
    assert np.isclose(row.ce_byte * 3, row.ce * len(row.token_ce))


JINJA = {
    "chatml": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "no_end": "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}",
    "no_prompt": "{% for m in messages %}{{ m.role }}: {{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}bot: {% endif %}",
    "drops_history": "{% for m in messages[-2:] %}{{ m.role }}: {{ m.content }}</s>{% endfor %}",
    "no_system": "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}"
    "{% endif %}{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "broken": "{% for m in messages %}{{ m.content }",
    "system_moves": "{% for m in messages %}{% if m.role == 'user' %}[INST]{% if loop.last or "
    "loop.index0 == messages | length - 2 %}{% if messages[0].role == 'system' %}"
    "{{ messages[0].content }}\n{% endif %}{% endif %}{{ m.content }}[/INST]"
    "{% elif m.role == 'assistant' %}{{ m.content }}</s>{% endif %}{% endfor %}",
}


@pytest.fixture
def jinja(tmp_path):
    def write(name):
        path = tmp_path / f"{name}.jinja"
        path.write_text(JINJA[name])
        return open_template(str(path))

    return write


@pytest.mark.parametrize(
    ("name", "system", "reason"),
    [
        ("no_end", False, "no token ends an answer"),
        ("no_prompt", False, "not the beginning of the training text"),
        ("drops_history", False, "left out"),
        ("broken", False, "cannot render"),
        ("no_system", True, "no system here"),
        ("system_moves", True, "with a system message, a message of the user is .* moved"),
    ],
)
def test_jinja_files_that_nothing_could_learn_from_are_refused(jinja, name, system, reason):
    with pytest.raises(RenderingError, match=reason) as caught:
        check_template(jinja(name), system)
    assert f"{name}.jinja" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["chatml", "no_system", "system_moves"])
def test_jinja_files_that_can_be_learnt_are_accepted(jinja, name):
    check_template(jinja(name))
    assert jinja(name).end in ("<|im_end|>", "\ue003", "</s>")


def test_a_template_may_strip_messages(jinja):
    rendered = render(jinja("no_system"), as_messages([" hi ", " yo\n"]), TOKENS)
    assert rendered.text == "<|user|>hi<eot><|assistant|>yo<eot>"
    assert [rendered.text[a:b] for a, b in rendered.messages] == ["hi", "yo"]


def test_a_missing_file_and_an_unknown_name_are_told():
    with pytest.raises(RenderingError, match=r"nowhere\.jinja cannot be read"):
        open_template("nowhere.jinja")
    with pytest.raises(RenderingError, match="nonsense"):
        open_template("nonsense")
