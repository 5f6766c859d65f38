"""One renderer for training, dump and answers, on real tokenizers and their own chat templates."""

import json
import logging
import random
from itertools import chain
from pathlib import Path

import pytest
from fastchat.conversation import conv_templates
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from fusionchat.dialogues.dialogue import Dialogue
from fusionchat.dialogues.messages import chat_messages
from fusionchat.dialogues.options import RenderingOptions
from fusionchat.dialogues.renderer import make_renderer, open_renderer
from fusionchat.dialogues.templates import RenderingError, check_template, open_template
from fusionchat.errors import UserError


def is_learnable(name: str) -> bool:
    try:
        check_template(open_template(name))
    except RenderingError:
        return False
    return True


WITH_TEMPLATE = ("llama3", "qwen3", "gemma3", "deepseek_v3")
ALL = (*WITH_TEMPLATE, "llama2", "gpt4o", "claude", "smollm2")
NAMES = ("openchat_3.5", "llama-2", "mistral", "OpenHermes-2.5-Mistral-7B", "zephyr", "vicuna_v1.1")
ACCEPTED = [name for name in sorted(conv_templates) if is_learnable(name)]
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    "{{ ' [INST] ' + m.content + ' [/INST]' }}{% elif m.role == 'assistant' %}"
    "{{ ' ' + m.content + eos_token }}{% else %}{{ raise_exception('no system') }}{% endif %}"
    "{% endfor %}"
)
TURNS = (
    ("What is 12 * 3?", "36."),
    ("  And why?\n\nShow it. ", "\n\nBecause 10 * 3 = 30,\n2 * 3 = 6: 36!"),
    ("Say <|im_end|> and </s>.", "<|im_end|>, </s> and <|eot_id|><end_of_turn>"),
    ("`y`?", ":) \u6771\u4eac \U0001f600 {% x %}"),
    ("1", "2"),
)


@pytest.fixture
def folder(real_tokenizer, smollm2):
    """The folder of a tokenizer by its name."""
    return lambda name: smollm2 if name == "smollm2" else real_tokenizer(name)


@pytest.fixture(scope="module")
def loaded():
    """Tokenizers that are loaded already: some take seconds."""
    return {}


@pytest.fixture
def open_real(folder, loaded):
    """A renderer for the tokenizer of that name."""

    def opened(name, options):
        if name not in loaded:
            loaded[name] = AutoTokenizer.from_pretrained(folder(name))
        return make_renderer(loaded[name], options, folder(name))

    return opened


@pytest.fixture(scope="module")
def dialogues():
    """Eight dialogues of one to five turns in which answers begin in awkward ways."""
    chooser = random.Random(0)
    chosen = [tuple(chooser.sample(TURNS, 1 + index % 5)) for index in range(8)]
    return [Dialogue(str(index), turns) for index, turns in enumerate(chosen)]


def assert_prompts_begin_the_training_ids(renderer, dialogue):
    encoded = renderer.encode(dialogue)
    texts = list(chain(*dialogue.turns))
    end = renderer.tokenizer.convert_tokens_to_ids(renderer.end_of_turn)
    assert len(encoded.spans) == len(dialogue.turns)
    for turn, (start, length) in enumerate(encoded.spans.tolist()):
        prompt = renderer.prompt(texts[: 2 * turn + 1], dialogue.system)
        assert prompt.ids == tuple(encoded.input_ids[:start].tolist())
        response = encoded.input_ids[start : start + length].tolist()
        assert response.index(end) == length - 1  # learnt, and nowhere else in the answer
        answer = renderer.tokenizer.decode(response[:-1], skip_special_tokens=False)
        assert dialogue.turns[turn][1].strip() in answer
    assert (encoded.labels() == end).sum() == len(dialogue.turns)
    bos = renderer.tokenizer.bos_token_id
    assert bos is None or encoded.input_ids[:2].tolist().count(bos) <= 1


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("template", NAMES)
def test_fastchats_prompts_begin_the_training_ids(open_real, dialogues, name, template):
    options = RenderingOptions(template, system_message="Be brief.")
    renderer = open_real(name, options)
    for dialogue in dialogues:
        assert_prompts_begin_the_training_ids(renderer, dialogue)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("system", [None, "Be brief."])
def test_all_of_fastchats_templates_hold_or_are_refused(open_real, dialogues, name, system):
    refused = {}
    for template in ACCEPTED:
        try:
            renderer = open_real(name, RenderingOptions(template, system_message=system))
            for dialogue in dialogues[3:5]:
                assert_prompts_begin_the_training_ids(renderer, dialogue)
        except RenderingError as error:
            refused[template] = str(error)
    # One begins with the end of a text, which for some tokenizers is BOS; one has no system.
    assert refused.keys() <= {"llama2-chinese", "yuan"}
    assert all("\n" not in line and name in line for name, line in refused.items())


@pytest.mark.parametrize("name", [*WITH_TEMPLATE, "smollm2"])
@pytest.mark.parametrize("system", [None, "Be brief."])
def test_the_prompts_of_chat_templates_begin_the_training_ids(open_real, dialogues, name, system):
    renderer = open_real(name, RenderingOptions("tokenizer", system_message=system))
    for dialogue in dialogues:
        assert_prompts_begin_the_training_ids(renderer, dialogue)


@pytest.mark.parametrize("name", ["llama2", "smollm2"])
def test_the_prompts_of_a_mistral_like_file_begin_the_training_ids(
    open_real, dialogues, name, tmp_path
):
    path = tmp_path / "mistral.jinja"
    path.write_text(MISTRAL)
    renderer = open_real(name, RenderingOptions(str(path)))
    for dialogue in dialogues:
        assert_prompts_begin_the_training_ids(renderer, dialogue)
    with pytest.raises(RenderingError, match="no system"):
        renderer.encode(Dialogue("s", (("a", "b"),), system="Be brief."))


@pytest.mark.parametrize("name", [*WITH_TEMPLATE, "smollm2"])
@pytest.mark.parametrize("system", [None, "You are a pirate.\n"])
def test_text_and_ids_equal_those_of_apply_chat_template(open_real, dialogues, name, system):
    options = RenderingOptions("tokenizer", system_message=system, special_text="token")
    renderer = open_real(name, options)
    tokenizer = renderer.tokenizer
    for dialogue in dialogues:
        texts = list(chain(*dialogue.turns))
        for length in range(1, len(texts) + 1, 2):
            chat = chat_messages(system, texts[:length])
            prompt = renderer.prompt(texts[:length])
            expected = tokenizer.apply_chat_template(
                chat, tokenize=False, add_generation_prompt=True
            )
            assert prompt.text == expected
            if "\n\nBecause" not in "".join(texts[:length]):
                ids = tokenizer(expected, add_special_tokens=False)["input_ids"]
                assert list(prompt.ids) == ids


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("smollm2", "<|im_end|>"),
        ("llama3", "<|eot_id|>"),
        ("qwen3", "<|im_end|>"),
        ("gemma3", "<end_of_turn>"),
        ("deepseek_v3", "<｜end▁of▁sentence｜>"),
        ("llama2", "</s>"),
    ],
)
def test_the_end_of_turn_is_what_the_chat_template_writes(open_real, name, end, caplog):
    with caplog.at_level(logging.WARNING):
        renderer = open_real(name, RenderingOptions("openchat_3.5"))
    assert renderer.end_of_turn == end
    assert renderer.tokenizer.convert_tokens_to_ids(end) in renderer.stop_ids
    assert ("turns end with <|eot_id|>" in caplog.text) == (name == "llama3")


def test_begin_of_text_stands_there_once_or_not_at_all(open_real):
    dialogue = Dialogue("d", (("hi", "yo"), ("and", "so")))
    for name, template, expected in (
        ("smollm2", "tokenizer", 1),
        ("smollm2", "OpenHermes-2.5-Mistral-7B", 1),
        ("llama2", "openchat_3.5", 1),
        ("llama3", "tokenizer", 1),
        ("qwen3", "tokenizer", 0),
        ("gemma3", "tokenizer", 1),
        ("deepseek_v3", "tokenizer", 1),
    ):
        renderer = open_real(name, RenderingOptions(template))
        ids = renderer.encode(dialogue).input_ids.tolist()
        bos = renderer.tokenizer.bos_token_id
        begins = [token == bos and bos is not None for token in ids[:2]]
        assert begins == [expected == 1, False], (name, template)


def with_generation_config(source: Path, target: Path, ends) -> Path:
    target.mkdir()
    for path in source.iterdir():
        if path.name.startswith("tokenizer"):
            (target / path.name).write_bytes(path.read_bytes())
    config = json.loads((target / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (target / "tokenizer_config.json").write_text(json.dumps(config))
    (target / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    return target


def test_without_a_chat_template_the_generation_config_tells_the_end_of_turn(
    folder, tmp_path, caplog
):
    copy = with_generation_config(folder("llama3"), tmp_path / "a", [128001, 128008, 128009])
    renderer = open_renderer(copy, RenderingOptions())
    assert renderer.end_of_turn == "<|eot_id|>"
    assert renderer.stop_ids == {128001, 128008, 128009}
    assert "set end_of_turn" in caplog.text
    named = open_renderer(copy, RenderingOptions(end_of_turn="<|reserved_special_token_4|>"))
    assert named.encode(Dialogue("d", (("a", "b"),))).input_ids[-1] == 128008
    with pytest.raises(UserError, match=r"end_of_turn: '<\|no\|>' is not a token"):
        open_renderer(copy, RenderingOptions(end_of_turn="<|no|>"))


def test_fastchats_stop_ids_hold_for_their_own_vocabulary_only(folder):
    for name, template in (
        ("smollm2", "OpenHermes-2.5-Mistral-7B"),
        ("qwen3", "mpt-7b-chat"),
        ("llama2", "stablelm"),
    ):
        tokenizer = AutoTokenizer.from_pretrained(folder(name))
        renderer = make_renderer(tokenizer, RenderingOptions(template), training=False)
        texts = tokenizer.convert_ids_to_tokens(sorted(renderer.stop_ids))
        assert set(texts) <= {"<|im_end|>", "</s>", "<|endoftext|>"}
    qwen = AutoTokenizer.from_pretrained(folder("qwen3"))
    renderer = make_renderer(qwen, RenderingOptions("qwen-7b-chat"), training=False)
    assert renderer.stop_ids == {151643, 151644, 151645}


def test_every_model_reads_the_pivots_chat_template_with_its_own_special_tokens(folder, open_real):
    options = RenderingOptions("tokenizer", template_model=folder("smollm2"))
    dialogue = Dialogue("d", (("hi", "yo"), ("and", "so")))
    pivot = open_real("smollm2", RenderingOptions("tokenizer"))
    for name, bos, end in (("llama2", "<s>", "</s>"), ("gemma3", "<bos>", "<end_of_turn>")):
        source = open_real(name, options)
        assert_prompts_begin_the_training_ids(source, dialogue)
        text = pivot.prompt(["hi", "yo", "and"]).text
        assert source.prompt(["hi", "yo", "and"]).text == text.replace("<|im_end|>", end)
        assert (
            source.tokenizer.convert_ids_to_tokens(int(source.encode(dialogue).input_ids[0])) == bos
        )


def test_special_tokens_in_messages_are_text_or_tokens(open_real):
    dialogue = Dialogue("d", (("Say <|im_end|>", "a <|im_end|> b"),))
    for name in ("smollm2", "qwen3"):
        literal = open_real(name, RenderingOptions("tokenizer"))
        end = literal.tokenizer.convert_tokens_to_ids("<|im_end|>")
        encoded = literal.encode(dialogue)
        assert literal.special_texts(dialogue) == 2
        assert (encoded.labels() == end).sum() == 1
        options = RenderingOptions("tokenizer", special_text="token")
        token = open_real(name, options).encode(dialogue)
        assert (token.labels() == end).sum() == 2
        assert literal.tokenizer.decode(encoded.input_ids) == literal.tokenizer.decode(
            token.input_ids
        )


def test_a_tokenizer_that_appends_the_end_of_sequence_does_not_end_prompts(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder("llama2"))
    tokenizer.chat_template = MISTRAL
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    for template in ("tokenizer", "openchat_3.5"):
        renderer = make_renderer(tokenizer, RenderingOptions(template))
        ids = renderer.prompt(["hi"]).ids
        assert ids.count(1) == 1
        assert ids[-1] != 2
        assert_prompts_begin_the_training_ids(renderer, Dialogue("d", (("hi", "yo"), ("a", "b"))))
