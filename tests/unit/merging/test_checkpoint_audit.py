import json

import numpy as np
import pytest
from small_checkpoints import changed, random_arrays, read, to_bf16, write

from fusionchat.errors import UserError
from fusionchat.files import read_json
from fusionchat.merging.checkpoint_audit import check_tokenizers, match_tensors
from fusionchat.merging.inputs import InputOptions, Inputs
from fusionchat.merging.merged_folder import effective_units, weight_rows
from fusionchat.merging.methods.linear import LinearMerge
from fusionchat.merging.methods.sce import SceMerge
from fusionchat.merging.methods.varm import GRANULARITIES, NORMALISATIONS, VarmMerge
from fusionchat.merging.streaming import Merge
from fusionchat.merging.variation import known_weights, measure
from fusionchat.models.checkpoint import open_checkpoint

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def match(tmp_path, pivot, target, pivot_config=None, target_config=None):
    mine = open_checkpoint(write(tmp_path / "pivot", pivot, pivot_config))
    other = open_checkpoint(write(tmp_path / "target", target, target_config))
    return match_tensors(mine, other)


def test_equal_layouts_match_by_name(tmp_path):
    pivot = random_arrays(0)
    assert match(tmp_path, pivot, changed(pivot, 1)) == {name: name for name in pivot}


def without(arrays, name):
    return {key: array for key, array in arrays.items() if key != name}


def resized(arrays, name, shape):
    return {**arrays, name: np.zeros(shape, np.float32)}


@pytest.mark.parametrize(
    ("spoil", "config", "message"),
    [
        (lambda t: without(t, EMBEDDING), {}, f"lacks {EMBEDDING}"),
        (lambda t: {**t, "extra.weight": t[HEAD]}, {}, r"has besides .* extra\.weight"),
        (lambda t: resized(t, EMBEDDING, (8, 4)), {}, "other added tokens"),
        (lambda t: resized(t, HEAD, (6, 8)), {}, "not fine-tuned from this pivot"),
        (lambda t: {**t, HEAD: np.zeros((6, 4), np.uint8)}, {}, "quantised"),
        (lambda t: t, {"model_type": "mistral"}, "model_type is 'mistral'"),
        (lambda t: t, {"num_attention_heads": 4}, "num_attention_heads is 4"),
        (lambda t: t, {"rope_parameters": {"rope_theta": 1e6}}, "rope_theta"),
        (lambda t: t, {"tie_word_embeddings": True}, "tie_word_embeddings"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, spoil, config, message):
    pivot = random_arrays(0)
    with pytest.raises(UserError, match=message):
        match(tmp_path, pivot, spoil(changed(pivot, 1)), {"rope_theta": 1e4}, config)


def test_a_tied_output_layer_may_be_saved_or_left_out(tmp_path):
    tied = {"tie_word_embeddings": True}
    pivot = random_arrays(0)
    pivot[HEAD] = pivot[EMBEDDING]
    target = changed(pivot, 1)
    target[HEAD] = target[EMBEDDING]
    short = without(target, HEAD)
    assert match(tmp_path, pivot, short, tied, tied)[HEAD] == EMBEDDING
    assert HEAD not in match(tmp_path, without(pivot, HEAD), target, tied, tied)
    target[HEAD] = target[HEAD] + 1
    for mine in (pivot, without(pivot, HEAD)):
        with pytest.raises(UserError, match=f"ties {HEAD} to {EMBEDDING}, but"):
            match(tmp_path, mine, target, tied, tied)


@pytest.mark.parametrize("tied", [{"tie_word_embeddings": True}, {}])
def test_an_embedding_stands_in_for_no_output_layer_of_its_own(tmp_path, tied):
    """The pivot has both; its config leaves the tie to the model class."""
    pivot = random_arrays(0)
    mine = write(tmp_path / "pivot", pivot)
    other = write(tmp_path / "target", without(changed(pivot, 1), HEAD))
    for folder, facts in ((mine, {}), (other, tied)):
        config = read_json(folder / "config.json")
        config.pop("tie_word_embeddings", None)
        (folder / "config.json").write_text(json.dumps(config | facts))
    with pytest.raises(UserError, match=f"lacks {HEAD}"):
        match_tensors(open_checkpoint(mine), open_checkpoint(other))


def test_tied_models_merge_into_a_tied_model(tmp_path):
    tied = {"tie_word_embeddings": True}
    pivot = random_arrays(0)
    pivot[HEAD] = pivot[EMBEDDING]
    first, second = (without(changed(pivot, seed), HEAD) for seed in (1, 2))
    folders = {
        "a": write(tmp_path / "a", first, tied),
        "b": write(tmp_path / "b", {**second, HEAD: second[EMBEDDING]}, tied),
    }
    inputs = Inputs.open(InputOptions(write(tmp_path / "pivot", pivot, tied), folders))
    (tmp_path / "merged").mkdir()
    Merge(inputs, VarmMerge("matrix")).run(tmp_path / "merged", 10**9)
    (tmp_path / "merged" / "config.json").write_text("{}")
    merged = read(tmp_path / "merged")
    np.testing.assert_array_equal(merged[HEAD], merged[EMBEDDING])


def test_an_output_layer_stored_beside_its_embedding_counts_once(tmp_path):
    tied = {"tie_word_embeddings": True}
    pivot = without(random_arrays(0), HEAD)
    targets = {name: without(changed(pivot, seed), HEAD) for seed, name in ((1, "a"), (2, "b"))}
    targets["a"][EMBEDDING] += 1  # so that it matters

    def rows(*heads):
        folders = {
            name: write(tmp_path / name, arrays | dict.fromkeys(heads, arrays[EMBEDDING]), tied)
            for name, arrays in {"pivot": pivot, **targets}.items()
        }
        inputs = Inputs.open(InputOptions(folders.pop("pivot"), folders))
        result = []
        for granularity in GRANULARITIES[:-1]:
            known = known_weights(inputs, measure(inputs), granularity, "square", "sum")
            method = VarmMerge(granularity, known=known)
            method.effective = known
            result.append(weight_rows(inputs, effective_units(inputs, method)))
        return result

    assert rows(HEAD) == rows()


def test_tensors_of_whole_numbers_are_copied_if_all_agree(tmp_path):
    pivot = {**random_arrays(0), "steps": np.array([3, 4])}
    targets = {name: changed(random_arrays(0), seed) for seed, name in ((1, "a"), (2, "b"))}
    for steps, fits in ((3, True), (5, False)):
        folders = {
            name: write(tmp_path / name, {**target, "steps": np.array([steps, 4])})
            for name, target in targets.items()
        }
        inputs = Inputs.open(InputOptions(write(tmp_path / "pivot", pivot), folders))
        output = tmp_path / f"merged{steps}"
        output.mkdir()
        merge = Merge(inputs, LinearMerge(np.ones(2)))
        if fits:
            merge.run(output, 10**9)
            (output / "config.json").write_text("{}")
            info = open_checkpoint(output).tensors["steps"]
            assert info.dtype == "I64"
            assert np.fromfile(info.path, np.int64, 2, offset=info.offset).tolist() == [3, 4]
            assert measure(inputs)["a"].rows.keys() == random_arrays(0).keys()
        else:
            with pytest.raises(UserError, match="steps"):
                merge.run(output, 10**9)


METHODS = [
    LinearMerge(np.ones(2)),
    VarmMerge("matrix"),
    *(VarmMerge("parameter", normalise=normalise) for normalise in NORMALISATIONS),
    *(SceMerge(*settings) for settings in ((1.0, True), (0.5, True), (0.5, False), (0.01, True))),
]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("also_changed", [True, False])
def test_what_is_not_finite_is_refused(tmp_path, value, also_changed):
    pivot = random_arrays(0)
    targets = [changed(pivot, seed) for seed in (1, 2)]
    targets[0][HEAD][2, 1] = value
    if not also_changed:
        targets[1][HEAD][2, 1] = pivot[HEAD][2, 1]
    folders = {f"t{i}": write(tmp_path / f"t{i}", target) for i, target in enumerate(targets)}
    inputs = Inputs.open(InputOptions(write(tmp_path / "pivot", pivot), folders))
    with pytest.raises(UserError, match=r"lm_head\.weight.* NaN"):
        measure(inputs)
    for number, method in enumerate(METHODS):
        output = tmp_path / f"merged{number}"
        output.mkdir()
        with pytest.raises(UserError, match=r"lm_head\.weight.* NaN"):
            Merge(inputs, method).run(output, 10**9)


def test_mixed_types_end_in_the_pivots_with_one_rounding(tmp_path):
    pivot = random_arrays(0)
    half = {name: to_bf16(array) for name, array in pivot.items()}
    half[HEAD] = pivot[HEAD]  # a pivot may keep some tensors in float32
    targets = [changed(pivot, seed) for seed in (1, 2)]
    folders = {f"t{i}": write(tmp_path / f"t{i}", target) for i, target in enumerate(targets)}
    inputs = Inputs.open(InputOptions(write(tmp_path / "pivot", half), folders))
    (tmp_path / "merged").mkdir()
    Merge(inputs, LinearMerge(np.array([1.0, 2.0]))).run(tmp_path / "merged", 10**9)
    (tmp_path / "merged" / "config.json").write_text("{}")
    layout = open_checkpoint(tmp_path / "merged").tensors
    assert layout[HEAD].dtype == "F32"
    assert layout[EMBEDDING].dtype == "BF16"
    merged = read(tmp_path / "merged")
    for name in pivot:
        exact = sum(w * t[name].astype(np.float64) for w, t in zip((1, 2), targets, strict=True))
        significant = 8 if layout[name].dtype == "BF16" else 24
        half_unit = 2.0 ** (np.floor(np.log2(np.abs(exact / 3))) - significant)
        assert (np.abs(merged[name] - exact / 3) <= half_unit * (1 + 1e-6)).all()


def tokenizer(vocabulary, added=(), merges=()):
    added_tokens = [{"id": number, "content": token} for token, number in added]
    return {"model": {"vocab": vocabulary, "merges": list(merges)}, "added_tokens": added_tokens}


def tokenizers(tmp_path, mine, other):
    folders = []
    for name, content in (("pivot", mine), ("target", other)):
        folder = write(tmp_path / name, random_arrays(0))
        if content is not None:
            (folder / "tokenizer.json").write_text(json.dumps(content))
        folders.append(open_checkpoint(folder))
    return folders


def test_tokenizers_are_compared_by_meaning(tmp_path):
    mine = tokenizer({"a": 0, "b": 1}, [("<end>", 2)], ["a b"])
    check_tokenizers(*tokenizers(tmp_path, mine, {**mine, "truncation": None}))
    check_tokenizers(*tokenizers(tmp_path, mine, None))
    unigram = {"model": {"vocab": [["a", -1.0], ["b", -2.0]]}}
    check_tokenizers(*tokenizers(tmp_path, unigram, {**unigram, "version": "1.0"}))
    for other in (
        tokenizer({"a": 1, "b": 0}, [("<end>", 2)], ["a b"]),
        tokenizer({"a": 0, "b": 1}, [("<stop>", 2)], ["a b"]),
        tokenizer({"a": 0, "b": 1}, [("<end>", 2)], ["b a"]),
    ):
        with pytest.raises(UserError, match="not the pivot's tokenizer"):
            check_tokenizers(*tokenizers(tmp_path, mine, other))


def test_the_same_tokenizer_saved_by_a_newer_library_is_the_same(tmp_path):
    """Newer files write merges as pairs, and hold tokens that older folders list elsewhere."""
    older = tokenizer({"a": 0, "b": 1, "ab": 2}, [], ["a b"])
    newer = tokenizer({"a": 0, "b": 1, "ab": 2}, [("<end>", 3), ("<pad>", 4)], [["a", "b"]])
    mine, other = tokenizers(tmp_path, older, newer)
    with pytest.raises(UserError, match="<end>"):
        check_tokenizers(mine, other)
    (mine.folder / "added_tokens.json").write_text('{"<end>": 3, "<pad>": 4}')
    check_tokenizers(mine, other)
    (mine.folder / "added_tokens.json").unlink()
    decoder = {"added_tokens_decoder": {"3": {"content": "<end>"}, "4": {"content": "<pad>"}}}
    (mine.folder / "tokenizer_config.json").write_text(json.dumps(decoder))
    check_tokenizers(mine, other)
    (other.folder / "tokenizer.json").write_text(
        json.dumps(tokenizer({"a": 0, "b": 1, "ab": 2}, [("<end>", 3), ("<pad>", 4)], [["b", "a"]]))
    )
    with pytest.raises(UserError, match="merges"):
        check_tokenizers(mine, other)


def test_a_target_trained_here_keeps_the_pivots_tokenizer(tmp_path, golden):
    """A pivot of 2023 with merges as texts, saved again as `train_target` does."""
    from transformers import AutoTokenizer

    mine, other = tokenizers(tmp_path, None, None)
    content = json.loads((golden / "labels" / "tokenizer.json").read_text())
    merges = content["model"]["merges"]
    content["model"]["merges"] = [m if isinstance(m, str) else " ".join(m) for m in merges]
    (mine.folder / "tokenizer.json").write_text(json.dumps(content))
    AutoTokenizer.from_pretrained(mine.folder).save_pretrained(other.folder)
    check_tokenizers(mine, other)


def test_tokenizers_are_compared_by_a_file_that_both_have(tmp_path):
    mine, other = tokenizers(tmp_path, tokenizer({"a": 0}), None)
    for folder, pieces in ((mine.folder, b"pieces"), (other.folder, b"other pieces")):
        (folder / "tokenizer.model").write_bytes(pieces)
    with pytest.raises(UserError, match=r"tokenizer\.model"):
        check_tokenizers(mine, other)
    mine, other = tokenizers(tmp_path, None, None)
    (mine.folder / "vocab.json").write_text('{"a": 0, "b": 1}')
    (other.folder / "vocab.json").write_text('{"b":1,"a":0}')
    check_tokenizers(mine, other)
    (other.folder / "vocab.json").write_text('{"b":0,"a":1}')
    with pytest.raises(UserError, match=r"vocab\.json"):
        check_tokenizers(mine, other)


def test_sentencepiece_files_are_compared_byte_by_byte(tmp_path):
    mine, other = tokenizers(tmp_path, None, None)
    (mine.folder / "tokenizer.model").write_bytes(b"pieces")
    (other.folder / "tokenizer.model").write_bytes(b"pieces")
    check_tokenizers(mine, other)
    (other.folder / "tokenizer.model").write_bytes(b"other pieces")
    with pytest.raises(UserError, match=r"tokenizer\.model"):
        check_tokenizers(mine, other)
