"""The four programs of the alignment stage, on files."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from alignment_cases import TEXTS, dialogue, encode, model_folder
from alignment_stage import DIALOGUES, Stage

from fusionchat.alignment import spans_file
from fusionchat.alignment.groups import Aligner
from fusionchat.alignment.response_tokens import load_table
from fusionchat.errors import UserError
from fusionchat.logits.store import LogitWriter, read_logits, read_provenance, unusable
from fusionchat.models import token_table


@pytest.mark.parametrize(
    ("method", "strategy", "rules"),
    [
        ("spans", "statistics", "mass"),
        ("dtw", "min_edit", "mass"),
        ("dtw", "statistics_reference", "reference"),
        ("spans", "exact", "reference"),
    ],
)
def test_the_result_is_a_logit_store_at_the_pivots_positions(tmp_path, method, strategy, rules):
    stage = Stage(tmp_path)
    stores, *_, aligned = stage.all(method=method, strategy=strategy, rules=rules)
    pivot, source = read_logits(stores[0][1]), read_logits(stores[1][1])
    size = token_table.load(stage.pivot).size
    for row, p, s in zip(read_logits(aligned), pivot, source, strict=True):
        assert row.dialogue_id == p.dialogue_id
        np.testing.assert_array_equal(row.input_ids, p.input_ids)
        np.testing.assert_array_equal(row.spans, p.spans)
        assert row.top_ids.shape == (len(p.response_ids), s.top_ids.shape[1])
        assert row.top_ids.min() >= 0
        assert row.top_ids.max() < size
        assert (np.exp(row.top_logprobs.astype(float)).sum(axis=1) <= 1.01).all()
        assert (row.ce, row.ce_byte) == (s.ce, s.ce_byte)
        expected = s.token_ce.astype(float).sum()
        assert row.token_ce.astype(float).sum() == pytest.approx(expected, rel=0.01, abs=0.05)
    facts = read_provenance(aligned)
    assert (facts["rules"], facts["method"], facts["excluded"]) == (rules, method, 0)


@pytest.mark.parametrize("rules", ["mass", "reference"])
@pytest.mark.parametrize("sides", [(0, 1), (0,), (1,)])
def test_turns_without_tokens(tmp_path, rules, sides):
    """FastChat renders an empty answer without its end of turn, so its span is empty."""
    stage = Stage(tmp_path)
    stores = stage.stores("", [["one", "two"]])
    for name in (stores[side][1] for side in sides):
        row = next(read_logits(name))
        (first, length), second = row.spans.tolist()
        keep = slice(length, None)
        with LogitWriter(name, {}) as writer:
            writer.write(
                replace(
                    row,
                    spans=np.array([[first, 0], second], np.int32),
                    top_ids=row.top_ids[keep],
                    top_logprobs=row.top_logprobs[keep],
                    token_ce=row.token_ce[keep],
                )
            )
    spans = stage.align(stores, "")
    aligned = stage.transfer(stores, spans, stage.map([spans]), "", rules)
    row = next(read_logits(aligned))
    length = row.spans[0, 1]
    assert len(row.token_ce) == length + row.spans[1, 1]
    assert (length == 0) == (0 in sides)
    assert np.isnan(row.token_ce[:length]).all()
    assert np.isfinite(row.token_ce[length:]).all()


def test_groups_add_up_and_end_of_turn_keeps_its_distribution(tmp_path):
    stores, *_, aligned = Stage(tmp_path).all()
    table = pq.read_table(aligned)
    kinds = ["one_to_one", "many_to_one", "one_to_many", "many_to_many", "fallback"]
    for row, counted in zip(read_logits(aligned), table.to_pylist(), strict=True):
        assert sum(counted[kind] for kind in kinds) == len(row.response_ids)
        groups = np.array(counted["groups"])
        assert groups.sum() == len(row.response_ids)
    source = next(read_logits(stores[1][1]))
    row = next(read_logits(aligned))
    ends = [np.cumsum(store.spans[:, 1]) - 1 for store in (row, source)]
    np.testing.assert_array_equal(row.token_ce[ends[0]], source.token_ce[ends[1]])


def test_results_do_not_depend_on_the_sharding(tmp_path):
    stage = Stage(tmp_path)
    *_, whole_map, whole = stage.all()
    whole_rows = pq.read_table(whole_map)
    halves = [DIALOGUES[:4], DIALOGUES[4:]]
    names = [f"d{i}" for i in range(len(DIALOGUES))]
    stores, spans = [], []
    for index in range(2):
        first = index * 4
        paths = []
        for side, folder in (("p", stage.pivot), ("s", stage.source)):
            path = tmp_path / f"{side}{index}"
            with LogitWriter(path, {"model": folder.name}) as writer:
                for i, responses in enumerate(halves[index], first):
                    writer.write(dialogue(folder, names[i], responses, seed=i))
            paths.append(path)
        stores.append((["--pivot-logits", str(paths[0])], ["--source-logits", str(paths[1])]))
        spans.append(stage.align(stores[-1], str(index)))
    vocabulary = stage.map(spans)
    assert pq.read_table(vocabulary).equals(whole_rows)
    rows = [
        row
        for index in range(2)
        for row in read_logits(stage.transfer(stores[index], spans[index], vocabulary, str(index)))
    ]
    for row, expected in zip(rows, read_logits(whole), strict=True):
        assert row.dialogue_id == expected.dialogue_id
        np.testing.assert_array_equal(row.top_ids, expected.top_ids)
        np.testing.assert_array_equal(row.top_logprobs, expected.top_logprobs)
        np.testing.assert_array_equal(row.token_ce, expected.token_ce)


def other_special_tokens(content, names):
    content["added_tokens"] += [
        {"id": 600, "content": "<|im_end|>", "special": True},
        {"id": 601, "content": "<|im_start|>", "special": True},
    ]
    names["eos"] = "<|im_end|>"


def test_equal_tokenizers_only_move_special_tokens(tmp_path):
    stage = Stage(tmp_path, "A", "A", other_special_tokens)
    stores, spans, _, aligned = stage.all()
    assert spans_file.read_facts(spans)["equal_tokenizers"]
    assert all(alignment is None for _, alignment in spans_file.read_alignments(spans))
    pivot_end, source_end = 2, 600
    for row, s in zip(read_logits(aligned), read_logits(stores[1][1]), strict=True):
        assert row.response_ids[-1] == pivot_end
        expected = np.where(s.top_ids == source_end, pivot_end, s.top_ids)
        kept = (expected < 600) & ~((s.top_ids == 2) & (expected == 2))
        for r in range(len(expected)):
            used = np.isfinite(row.top_logprobs[r])
            np.testing.assert_array_equal(row.top_ids[r, used], expected[r, kept[r]])
            np.testing.assert_array_equal(row.top_logprobs[r, used], s.top_logprobs[r, kept[r]])
        np.testing.assert_array_equal(row.token_ce, s.token_ce)


def test_equal_vocabularies_with_other_tokens_for_a_text_are_aligned(tmp_path):
    """Ids of equal tokenizers are reused only where they agree; the rest is aligned by bytes."""
    stage = Stage(tmp_path, "A", "A")
    stores = stage.stores("", [["the end"]])
    row = next(read_logits(stores[1][1]))
    letters = token_table.load(stage.source)
    ids = [letters.pieces.index(piece) for piece in ("▁", "t", "h", "e", "▁", "e", "n", "d")]
    other = dialogue(stage.source, "d0", ["x" * 40])
    n = len(ids) + 1
    changed = type(row)(
        "d0",
        np.array([*row.input_ids[: row.spans[0, 0]], *ids, 2], np.int32),
        np.array([[row.spans[0, 0], n]], np.int32),
        other.top_ids[:n],
        other.top_logprobs[:n],
        other.token_ce[:n],
        1.0,
        1.0,
    )
    with LogitWriter(stores[1][1], {}) as writer:
        writer.write(changed)
    spans = stage.align(stores, "")
    (_, alignment), *_ = spans_file.read_alignments(spans)
    assert alignment.count.sum() >= len(ids)


def test_what_the_source_could_not_score_is_excluded(tmp_path):
    stage = Stage(tmp_path)
    stores = stage.stores("", DIALOGUES[:4])
    rows = list(read_logits(stores[1][1]))
    with LogitWriter(stores[1][1], {}) as writer:
        writer.write(rows[0])
        writer.write(unusable("d1", rows[1].input_ids, rows[1].spans, 4))
        writer.write(rows[3])
    spans = stage.align(stores, "")
    aligned = stage.transfer(stores, spans, stage.map([spans]), "")
    assert [row.dialogue_id for row in read_logits(aligned)] == ["d0", "d3"]
    assert read_provenance(aligned)["excluded"] == 2


def test_text_that_the_sources_tokenizer_changes_is_excluded_and_counted(tmp_path, caplog):
    def normalise(content, names):
        content["normalizer"] = {"type": "NFKC"}

    wide = "".join(chr(ord(c) + 0xFEE0) for c in "quietriverandtheotherone")
    stage = Stage(tmp_path, change=normalise)
    made = stage.all(dialogues=[[TEXTS[0]], [wide], [TEXTS[0] + wide[:2]]])
    assert [row.dialogue_id for row in read_logits(made[-1])] == ["d0", "d2"], "a little is taken"
    facts = read_provenance(made[-1])
    assert (facts["excluded"], facts["changed"]) == (1, 1)
    assert "1 dialogues are left out" in caplog.text
    assert "excluded for this source: 1 (its tokenizer changes" in stage.report(made)


def test_no_dialogue_at_all(tmp_path):
    stage = Stage(tmp_path)
    made = stage.all(dialogues=[])
    assert list(read_logits(made[-1])) == []
    assert "Dialogues: 0" in stage.report(made, "--figure", str(tmp_path / "f.svg"))


def test_files_of_other_tokenizers_stop(tmp_path):
    stage = Stage(tmp_path)
    stores, spans, vocabulary, _ = stage.all()
    other = Stage(tmp_path / "other", "A", "C")
    with pytest.raises(UserError, match="another source tokenizer"):
        other.map([spans])
    with pytest.raises(UserError, match="another source tokenizer"):
        other.transfer(stores, spans, vocabulary, "")
    with pytest.raises(UserError, match=r"not in the vocabulary|different texts"):
        other.align(stores, "")


def test_a_store_that_names_another_tokenizer_stops(tmp_path):
    stage = Stage(tmp_path)
    stores = stage.stores("", DIALOGUES[:2])
    rows = list(read_logits(stores[1][1]))
    with LogitWriter(stores[1][1], {"vocabulary": "0" * 64}) as writer:
        for row in rows:
            writer.write(row)
    with pytest.raises(UserError, match="was not made with the tokenizer"):
        stage.align(stores, "")


def test_the_end_of_turn_that_a_store_names_is_aligned_by_role(tmp_path):
    tables, ids = [], []
    for letter, end in (("A", "<s>"), ("B", "<|bos|>")):
        folder, path = model_folder(tmp_path / letter, letter), tmp_path / f"{letter}.parquet"
        with LogitWriter(path, {"end_of_turn": end}):
            pass
        tables.append(load_table(folder, path))
        end_id = tables[-1].roles["eos"]
        assert tables[-1].pieces[end_id] == end
        assert tables[-1].fingerprint != token_table.load(folder).fingerprint
        ids.append(np.array([*encode(letter, TEXTS[0]), end_id], np.int32))
    start, count = Aligner(*tables, "spans").align_turn(*ids)
    assert (start[-1], count[-1]) == (len(ids[1]) - 1, 1)


def test_another_order_or_other_turns_stop(tmp_path):
    stage = Stage(tmp_path)
    stores = stage.stores("", DIALOGUES[:3])
    rows = list(read_logits(stores[1][1]))
    with LogitWriter(stores[1][1], {}) as writer:
        for row in reversed(rows):
            writer.write(row)
    with pytest.raises(UserError, match="another order"):
        stage.align(stores, "")
    with LogitWriter(stores[1][1], {}) as writer:
        writer.write(dialogue(stage.source, "d0", ["only one turn"]))
    with pytest.raises(UserError, match="turns"):
        stage.align(stores, "")


def test_spans_of_other_shards_stop(tmp_path):
    stage = Stage(tmp_path)
    _, spans, vocabulary, _ = stage.all()
    with pytest.raises(UserError, match="missing or in another order"):
        stage.transfer(stage.stores("few", DIALOGUES[:2]), spans, vocabulary, "few")
    with pytest.raises(UserError, match="do not fit"):
        stage.transfer(stage.stores("more", [["z" * 30, "y"]] * 9), spans, vocabulary, "more")


def test_foreign_files_stop(tmp_path):
    stage = Stage(tmp_path)
    stores, spans, _, _ = stage.all()
    with pytest.raises(UserError, match="not a spans file"):
        stage.map([stores[0][1]])
    with pytest.raises(UserError, match="make it with map_vocabulary"):
        stage.transfer(stores, spans, spans, "")


def damage(path, column):
    """Change bytes in the middle of a column's values, where no reader would stumble over them."""
    part = pq.ParquetFile(path).metadata.row_group(0)
    chunks = [part.column(i) for i in range(part.num_columns)]
    chunk = next(c for c in chunks if c.path_in_schema.split(".")[0] == column)
    data = bytearray(path.read_bytes())
    begin = chunk.dictionary_page_offset or chunk.data_page_offset
    middle = begin + chunk.total_compressed_size // 2
    data[middle] ^= 0xFF
    path.write_bytes(data)


def test_damaged_files_stop(tmp_path):
    stage = Stage(tmp_path)
    stores, spans, vocabulary, _ = stage.all()
    damage(spans, "start")
    with pytest.raises(UserError, match="spans is damaged"):
        stage.transfer(stores, spans, vocabulary, "")
    damage(vocabulary, "pivot_id")
    with pytest.raises(UserError, match="vocabulary is damaged, truncated"):
        stage.transfer(stores, stage.align(stores, ""), vocabulary, "")
    damage(tmp_path / "s", "input_ids")
    with pytest.raises(UserError, match="s is damaged"):
        stage.align(stores, "")


def test_ids_that_the_source_lacks_stop_the_transfer(tmp_path):
    stage = Stage(tmp_path)
    stores, spans, vocabulary, _ = stage.all(dialogues=DIALOGUES[:1])
    row = next(read_logits(stores[1][1]))
    with LogitWriter(stores[1][1], {}) as writer:
        writer.write(replace(row, input_ids=row.input_ids + 10_000))
    with pytest.raises(UserError, match="not in the vocabulary"):
        stage.transfer(stores, spans, vocabulary, "")
