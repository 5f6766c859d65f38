import json

import numpy as np
import pytest
from alignment_cases import encode, model_folder, sentencepiece_folder, special, table

from fusionchat.alignment import vocabulary_map
from fusionchat.errors import UserError
from fusionchat.models import token_table
from fusionchat.models.tokenizer import load_tokenizer


@pytest.mark.parametrize("letter", ["A", "B"])
@pytest.mark.parametrize("text", ["plain words", " ünïcode 小さな 🙂", "a\n\n\tb  c", "\x00\x7f"])
def test_token_bytes_spell_the_text(letter, text):
    info = table(letter)
    spelled = b"".join(info.token_bytes[i] for i in encode(letter, text))
    expected = text if letter == "B" or text.startswith(" ") else " " + text
    assert spelled == expected.encode()


def test_unknown_text_equals_no_text():
    info = table("C")
    ids = encode("C", "小")
    assert info.roles["unk"] in ids
    assert info.token_bytes[info.roles["unk"]] == token_table.UNKNOWN_BYTES


def test_added_text_tokens_stand_for_their_own_text(tmp_path):
    def add(content, names):
        content["added_tokens"].append({"id": 600, "content": "▁x", "special": False})

    info = token_table.load(model_folder(tmp_path / "m", "A", add))
    assert info.token_bytes[600] == "▁x".encode()
    assert not info.special[600]


def rename_special(content, names):
    """Another end of turn and one more special token, as between the paper's three models."""
    content["added_tokens"] += [
        {"id": 600, "content": "<|im_end|>", "special": True},
        {"id": 601, "content": "<|im_start|>", "special": True},
    ]
    names["eos"] = "<|im_end|>"


def test_tokenizers_that_differ_in_special_tokens_are_equal(tmp_path):
    first = token_table.load(model_folder(tmp_path / "a", "A"))
    second = token_table.load(model_folder(tmp_path / "b", "A", rename_special))
    assert token_table.equal(first, second)
    assert first.fingerprint != second.fingerprint
    matched = token_table.special_map(second, first)
    assert matched[600] == first.roles["eos"]
    assert 601 not in matched
    assert 2 not in matched, "</s> without a role is not the pivot's end of turn"


@pytest.mark.parametrize("special", [True, False])
def test_added_tokens_never_count_and_keep_to_their_spelling(tmp_path, special):
    """The paper's models share 32000 base tokens; 32000 and 32001 mean something else in each."""

    def openchat(content, names):
        content["added_tokens"] += [
            {"id": 600, "content": "<|end|>", "special": True},
            {"id": 601, "content": "<|pad_0|>", "special": special},
        ]
        names |= {"eos": "<|end|>", "pad": "<|end|>"}

    def hermes(content, names):
        content["added_tokens"] += [
            {"id": 600, "content": "<|im_end|>", "special": True},
            {"id": 601, "content": "<|im_start|>", "special": special},
        ]
        names |= {"eos": "<|im_end|>", "pad": "</s>"}

    pivot = token_table.load(model_folder(tmp_path / "a", "A", openchat))
    source = token_table.load(model_folder(tmp_path / "b", "A", hermes))
    assert token_table.equal(pivot, source)
    mapped = vocabulary_map.identity(source, pivot)
    np.testing.assert_array_equal(mapped[:600], np.arange(600))
    assert mapped[600:].tolist() == [600, token_table.NO_TOKEN]


def test_tokens_of_the_configuration_alone_are_ids_too(tmp_path):
    folder = model_folder(tmp_path / "m", "A")
    settings = {
        "eos_token": "<|im_end|>",
        "added_tokens_decoder": {
            "2": {"content": "</s>", "special": True},
            "600": {"content": "<|im_end|>", "special": True},
        },
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    info = token_table.load(folder)
    assert (info.size, info.roles["eos"]) == (601, 600)
    assert info.special[600]


@pytest.mark.parametrize("listed", [False, True])
def test_files_of_older_versions_count_as_they_do_for_transformers(tmp_path, listed):
    folder = model_folder(tmp_path / "m", "A")
    number = token_table.load(folder).size
    kept = {"2": special_token("</s>")} if listed else None
    settings = {"bos_token": "<s>", "eos_token": "</s>", "added_tokens_decoder": kept}
    older = {"eos_token": {"content": "<|im_end|>"}, "unk_token": "<unk>"}
    for name, content in (
        ("tokenizer_config", {key: value for key, value in settings.items() if value}),
        ("special_tokens_map", older),
        ("added_tokens", {"<|im_end|>": number}),
    ):
        (folder / f"{name}.json").write_text(json.dumps(content))
    info, tokenizer = token_table.load(folder), load_tokenizer(folder)
    assert info.roles["eos"] == tokenizer.eos_token_id == (2 if listed else number)
    assert (info.size == number) == listed
    assert info.special[info.roles["eos"]]


def special_token(text: str) -> dict:
    usual = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"content": text, "special": True, **usual}


def legacy_spaces(content, names):
    """As older library versions saved the same tokenizer: spaces are marked by a normaliser."""
    content["pre_tokenizer"] = None
    content["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    }


def test_how_spaces_are_marked_does_not_count(tmp_path):
    first = token_table.load(model_folder(tmp_path / "a", "A"))
    second = token_table.load(model_folder(tmp_path / "b", "A", legacy_spaces))
    assert token_table.equal(first, second)


def with_merges(*merges: str) -> token_table.TokenTable:
    vocab = {piece: i for i, piece in enumerate(["a", "b", "c", "ab", "bc", "abc"])}
    model = {"type": "BPE", "vocab": vocab, "merges": list(merges)}
    return token_table.from_content({"model": model}, {}, "merges")


def test_merges_count_but_not_their_order():
    """Converters of different versions order the merges of a SentencePiece model differently."""
    usual = with_merges("a b", "b c", "ab c", "a bc")
    assert token_table.equal(usual, with_merges("b c", "a b", "a bc", "ab c"))
    assert not token_table.equal(usual, with_merges("a b", "b c", "ab c"))


def drop_merge(content, names):
    content["model"]["merges"] = content["model"]["merges"][:-1]


def swap_pieces(content, names):
    vocab = content["model"]["vocab"]
    a, b = [piece for piece in vocab if piece.startswith("▁t")][:2]
    vocab[a], vocab[b] = vocab[b], vocab[a]


def lowercase(content, names):
    content["normalizer"] = {"type": "Lowercase"}


def no_byte_fallback(content, names):
    content["model"]["byte_fallback"] = False


@pytest.mark.parametrize("change", [drop_merge, swap_pieces, lowercase, no_byte_fallback])
def test_tokenizers_that_differ_in_anything_else_are_not_equal(tmp_path, change):
    first = token_table.load(model_folder(tmp_path / "a", "A"))
    second = token_table.load(model_folder(tmp_path / "b", "A", change))
    assert not token_table.equal(first, second)


def test_merges_of_older_and_newer_files_are_the_same(tmp_path):
    def older(content, names):
        merges = content["model"]["merges"]
        content["model"]["merges"] = [m if isinstance(m, str) else " ".join(m) for m in merges]

    def newer(content, names):
        merges = content["model"]["merges"]
        content["model"]["merges"] = [m.split(" ") if isinstance(m, str) else m for m in merges]

    first = token_table.load(model_folder(tmp_path / "a", "A", older))
    second = token_table.load(model_folder(tmp_path / "b", "A", newer))
    assert token_table.equal(first, second)


def test_unknown_is_matched_only_between_equal_tokenizers():
    a, c = table("A"), table("C")
    assert a.roles["unk"] not in token_table.special_map(a, c)
    assert token_table.special_map(a, table("A"))[a.roles["unk"]] == a.roles["unk"]


def test_a_token_of_several_roles_has_the_first(tmp_path):
    def padded_with(text):
        return lambda content, names: names.update(pad=text)

    pivot = token_table.load(model_folder(tmp_path / "p", "A", padded_with("</s>")))
    c = token_table.load(model_folder(tmp_path / "c", "C", padded_with("<unk>")))
    b = token_table.load(model_folder(tmp_path / "b", "B", padded_with("<unk>")))
    assert set(token_table.special_map(c, pivot).values()) == {1, 2}, "unknown text is not the end"
    assert c.roles["unk"] not in token_table.special_map(c, b), "unknown text is not padding"


def test_added_tokens_of_the_base_vocabulary_are_spelt_as_its_other_pieces():
    """As in Gemma, whose runs of spaces are listed as added tokens."""
    model = {"type": "BPE", "vocab": {"▁": 0, "▁▁": 1}, "merges": []}
    content = {
        "model": model,
        "added_tokens": [{"id": 1, "content": "▁▁", "special": False}],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    }
    assert token_table.from_content(content, {}, "gemma").token_bytes == (b" ", b"  ")


def test_ids_outside_the_vocabulary_stop():
    with pytest.raises(UserError, match="another tokenizer"):
        token_table.check_ids(table("C"), np.array([3, 599]), "file")


def test_folder_without_tokenizer_stops(tmp_path):
    with pytest.raises(UserError, match="no tokenizer"):
        token_table.load(tmp_path)


def test_a_file_without_vocabulary_stops(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="no vocabulary"):
        token_table.load(tmp_path)


def test_a_sentencepiece_model_equals_what_an_older_converter_made_of_it(tmp_path):
    folder = sentencepiece_folder(tmp_path / "slow")
    info = token_table.load(folder)
    text = " the river, élan 小"
    ids = load_tokenizer(folder).encode(text, add_special_tokens=False)
    assert b"".join(info.token_bytes[i] for i in ids) == text.encode()
    assert info.pieces[info.roles["eos"]] == "<|im_end|>"

    content = json.loads(load_tokenizer(folder).backend_tokenizer.to_str())
    legacy_spaces(content, {})
    fast = tmp_path / "fast"
    fast.mkdir()
    (fast / "tokenizer.json").write_text(json.dumps(content))
    assert token_table.equal(info, token_table.load(fast))


def test_word_pieces_stop(tmp_path):
    def word_piece(content, names):
        content["model"]["type"] = "WordPiece"

    with pytest.raises(UserError, match="WordPiece"):
        token_table.load(model_folder(tmp_path / "w", "A", word_piece))


def test_role_names_may_be_objects(tmp_path):
    folder = model_folder(tmp_path / "m", "A")
    text = '{"eos_token": {"content": "</s>", "lstrip": false}}'
    (folder / "tokenizer_config.json").write_text(text)
    assert token_table.load(folder).roles["eos"] == 2
    assert special("A")["eos"] == "</s>"


def test_padding_that_is_ordinary_text_is_text():
    content = {"model": {"type": "BPE", "vocab": {"!": 0, "</s>": 1}, "merges": []}}
    names = {"pad": "!", "eos": "</s>"}
    info = token_table.from_content(content, names, "words")
    assert info.roles == {"eos": 1}
    assert not info.special[0]
    names["pad"] = "</s>"
    assert token_table.from_content(content, names, "words").roles == {"eos": 1, "pad": 1}
