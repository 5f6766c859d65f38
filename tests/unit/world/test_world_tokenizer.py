import pytest
from transformers import AutoTokenizer

from fusionchat.categories import CATEGORIES
from fusionchat.dialogues.messages import as_messages, chat_messages
from fusionchat.dialogues.options import RenderingOptions
from fusionchat.dialogues.renderer import make_renderer
from fusionchat.dialogues.templates import SpecialTokens, open_template, render
from fusionchat.world.generator import World
from fusionchat.world.mixture import tokenizer_lines
from fusionchat.world.tokenizer import train_tokenizer

TEMPLATE = "openchat_3.5"


@pytest.fixture(scope="module")
def lines():
    return tokenizer_lines(World(1))


@pytest.fixture(scope="module")
def tokenizers(lines):
    return {
        "pivot": train_tokenizer(lines, "metaspace", 900, "<|end_of_turn|>"),
        "mixtral": train_tokenizer(lines, "metaspace", 900, "<|im_end|>"),
        "solar": train_tokenizer(lines, "byte_level", 640, "<|im_end|>"),
    }


def test_equal_tokenizers_differ_only_in_the_end_of_turn(tokenizers):
    pivot, mixtral = tokenizers["pivot"].get_vocab(), tokenizers["mixtral"].get_vocab()
    assert len(pivot) == 901
    assert pivot.pop("<|end_of_turn|>") == mixtral.pop("<|im_end|>") == 900
    assert pivot == mixtral


def test_kinds_mark_spaces_differently(tokenizers):
    assert "▁Correct" in tokenizers["pivot"].get_vocab()
    assert "ĠCorrect" in tokenizers["solar"].get_vocab()
    assert "<0x0A>" in tokenizers["pivot"].get_vocab()


@pytest.mark.parametrize("name", ["pivot", "solar"])
@pytest.mark.parametrize(
    "text", [" x = [1,2]. What?", "héllo 東京\n", " It is blue.", "<0x41> <unk"]
)
def test_text_survives(tokenizers, name, text):
    tokenizer = tokenizers[name]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("name", ["pivot", "mixtral", "solar"])
def test_responses_are_found_and_short(tokenizers, name):
    tokenizer = tokenizers[name]
    for category in CATEGORIES:
        dialogue = World(1).distinct(category, "validation", 1)[0].dialogue()
        encoded = make_renderer(tokenizer, RenderingOptions(TEMPLATE)).encode(dialogue)
        assert encoded.input_ids[0] == tokenizer.bos_token_id
        assert len(encoded.input_ids) < 90
        for (start, length), (_, answer) in zip(encoded.spans, dialogue.turns, strict=True):
            ids = encoded.input_ids[start : start + length].tolist()
            assert ids[-1] == tokenizer.eos_token_id
            assert tokenizer.decode(ids[:-1]) == f" {answer}"


def test_saved_tokenizers_come_back_equal(tokenizers, tmp_path):
    for name, tokenizer in tokenizers.items():
        tokenizer.save_pretrained(tmp_path / name)
        loaded = AutoTokenizer.from_pretrained(tmp_path / name)
        text = "GPT4 Correct User: x = [1,2]" + tokenizer.eos_token
        assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
        assert (loaded.eos_token, loaded.pad_token) == (tokenizer.eos_token, "<pad>")


def test_chat_template_equals_the_training_text(tokenizers):
    texts = ["Hi", "Hello.", "Who are you?", "A robot."]
    messages = chat_messages(None, texts)
    tokenizer = tokenizers["pivot"]
    spelling = SpecialTokens(end_of_turn=tokenizer.eos_token)
    rendered = render(open_template(TEMPLATE), as_messages(texts), spelling)
    expected = tokenizer.bos_token + rendered.text
    assert tokenizer.apply_chat_template(messages, tokenize=False) == expected
    prompt = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert expected.startswith(prompt)


def test_training_is_reproducible(lines):
    texts = {
        train_tokenizer(lines, "byte_level", 500, "<e>").backend_tokenizer.to_str() for _ in "ab"
    }
    assert len(texts) == 1
