import numpy as np
import pytest
from alignment_cases import encode, model_folder, special, table

from fusionchat.alignment import tokenizer
from fusionchat.errors import UserError


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
    assert info.token_bytes[info.roles["unk"]] == tokenizer.UNKNOWN_BYTES


def test_added_text_tokens_stand_for_their_own_text(tmp_path):
    def add(content, names):
        content["added_tokens"].append({"id": 600, "content": "▁x", "special": False})

    info = tokenizer.load(model_folder(tmp_path / "m", "A", add))
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
    first = tokenizer.load(model_folder(tmp_path / "a", "A"))
    second = tokenizer.load(model_folder(tmp_path / "b", "A", rename_special))
    assert tokenizer.equal(first, second)
    assert first.fingerprint != second.fingerprint
    matched = tokenizer.special_map(second, first)
    assert matched[600] == first.roles["eos"]
    assert 601 not in matched
    assert 2 not in matched, "</s> without a role is not the pivot's end of turn"


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


def text_token(content, names):
    content["added_tokens"].append({"id": 600, "content": "\n\n", "special": False})


@pytest.mark.parametrize(
    "change", [drop_merge, swap_pieces, lowercase, no_byte_fallback, text_token]
)
def test_tokenizers_that_differ_in_anything_else_are_not_equal(tmp_path, change):
    first = tokenizer.load(model_folder(tmp_path / "a", "A"))
    second = tokenizer.load(model_folder(tmp_path / "b", "A", change))
    assert not tokenizer.equal(first, second)


def test_merges_of_older_and_newer_files_are_the_same(tmp_path):
    def older(content, names):
        merges = content["model"]["merges"]
        content["model"]["merges"] = [m if isinstance(m, str) else " ".join(m) for m in merges]

    def newer(content, names):
        merges = content["model"]["merges"]
        content["model"]["merges"] = [m.split(" ") if isinstance(m, str) else m for m in merges]

    first = tokenizer.load(model_folder(tmp_path / "a", "A", older))
    second = tokenizer.load(model_folder(tmp_path / "b", "A", newer))
    assert tokenizer.equal(first, second)


def test_unknown_is_matched_only_between_equal_tokenizers():
    a, c = table("A"), table("C")
    assert a.roles["unk"] not in tokenizer.special_map(a, c)
    assert tokenizer.special_map(a, table("A"))[a.roles["unk"]] == a.roles["unk"]


def test_ids_outside_the_vocabulary_stop():
    with pytest.raises(UserError, match="another tokenizer"):
        tokenizer.check_ids(table("C"), np.array([3, 599]), "file")


def test_folder_without_tokenizer_stops(tmp_path):
    with pytest.raises(UserError, match="no tokenizer"):
        tokenizer.load(tmp_path)


def test_word_pieces_stop(tmp_path):
    def word_piece(content, names):
        content["model"]["type"] = "WordPiece"

    with pytest.raises(UserError, match="WordPiece"):
        tokenizer.load(model_folder(tmp_path / "w", "A", word_piece))


def test_role_names_may_be_objects(tmp_path):
    folder = model_folder(tmp_path / "m", "A")
    text = '{"eos_token": {"content": "</s>", "lstrip": false}}'
    (folder / "tokenizer_config.json").write_text(text)
    assert tokenizer.load(folder).roles["eos"] == 2
    assert special("A")["eos"] == "</s>"
