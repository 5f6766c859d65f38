"""The tokenizer that programs use is the one of tokenizer.json, which the alignment reads."""

import json
import re

import pytest
import tiny_models
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from fusionchat.errors import UserError
from fusionchat.models import token_table
from fusionchat.models.tokenizer import SAMPLE, check_cut, load_tokenizer


@pytest.fixture
def folder(tmp_path):
    """A folder like GPT-4o's: a class whose own way of cutting is not that of tokenizer.json."""
    core = Tokenizer.from_str(tiny_models.tokenizer().backend_tokenizer.to_str())
    digits = pre_tokenizers.Digits(individual_digits=True)
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)
    core.pre_tokenizer = pre_tokenizers.Sequence([digits, bytes_])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="<eot>")
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings["tokenizer_class"] = "GPT2Tokenizer"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    return tmp_path


def test_text_is_cut_as_the_file_says_whatever_the_class(folder):
    file, tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json")), load_tokenizer(folder)
    for text in SAMPLE:
        assert tokenizer(text, add_special_tokens=False).input_ids == file.encode(text).ids
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<s>", "<eot>")
    assert tokenizer.chat_template == "{{ messages[0]['content'] }}"


def test_a_tokenizer_that_cuts_otherwise_is_refused_with_the_remedy(folder):
    built, path = AutoTokenizer.from_pretrained(folder), folder / "tokenizer.json"
    with pytest.raises(UserError, match=r"tokenizer.json cuts .* remove `tokenizer_class`"):
        check_cut(built, Tokenizer.from_file(str(path)), path)


@pytest.mark.parametrize("name", ["tekken.json", "tokenizer.model.v3"])
@pytest.mark.parametrize("load", [load_tokenizer, token_table.load])
def test_mistrals_own_format_is_named_with_the_remedy(load, name, tmp_path):
    (tmp_path / name).write_text("{}")
    with pytest.raises(
        UserError, match=rf"{re.escape(name)} is .* mistral-common .*tokenizer\.json"
    ):
        load(tmp_path)
