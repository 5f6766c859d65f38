"""The logit store keeps what was written and refuses what is not its own."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusionchat.errors import UserError
from fusionchat.logits.store import (
    DialogueLogits,
    LogitWriter,
    check_shards,
    read_columns,
    read_logits,
    read_provenance,
    unusable,
)


def random_row(rng: np.random.Generator, name: str) -> DialogueLogits:
    spans = np.array([[3, 4], [10, 2]], dtype=np.int32)
    return DialogueLogits(
        dialogue_id=name,
        input_ids=rng.integers(0, 300_000, 12).astype(np.int32),
        spans=spans,
        top_ids=rng.integers(0, 300_000, (6, 10)).astype(np.int32),
        top_logprobs=-rng.random((6, 10)).astype(np.float16),
        token_ce=rng.random(6).astype(np.float16),
        ce=float(np.float32(rng.random())),
        ce_byte=float(np.float32(rng.random())),
    )


def test_rows_and_provenance_survive(tmp_path: Path):
    rng = np.random.default_rng(0)
    rows = [random_row(rng, f"d{i}") for i in range(600)]
    with LogitWriter(tmp_path / "s.parquet", {"model": "m"}, {"winner": pa.string()}) as writer:
        for row in rows:
            writer.write(row, winner="m")
    assert read_provenance(tmp_path / "s.parquet") == {"model": "m"}
    found = list(read_logits(tmp_path / "s.parquet"))
    assert [row.dialogue_id for row in found] == [row.dialogue_id for row in rows]
    for ours, theirs in zip(found, rows, strict=True):
        for field in ("input_ids", "spans", "top_ids", "top_logprobs", "token_ce"):
            np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field))
        assert (ours.ce, ours.ce_byte) == (theirs.ce, theirs.ce_byte)


def test_response_ids_are_the_spans_of_all_turns():
    row = random_row(np.random.default_rng(1), "d")
    assert row.response_ids.tolist() == [*row.input_ids[3:7], *row.input_ids[10:12]]


def test_an_error_leaves_no_file(tmp_path: Path):
    with pytest.raises(RuntimeError), LogitWriter(tmp_path / "s.parquet", {}):
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_file(tmp_path: Path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="No space"), LogitWriter(tmp_path / "s", {}) as writer:
        writer.write(random_row(np.random.default_rng(0), "d"))
    assert list(tmp_path.iterdir()) == []


def write(path: Path, rows: list[DialogueLogits], **provenance) -> Path:
    with LogitWriter(path, provenance) as writer:
        for row in rows:
            writer.write(row)
    return path


def test_broken_and_foreign_files_are_refused(tmp_path: Path):
    rng = np.random.default_rng(2)
    path = write(tmp_path / "s.parquet", [random_row(rng, f"d{i}") for i in range(300)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(UserError, match="truncated"):
        list(read_logits(path))
    damaged = bytearray(whole)
    damaged[len(whole) // 3] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"s\.parquet is damaged"):
        list(read_logits(path))
    path.write_text("nothing of the kind")
    with pytest.raises(UserError, match="not Parquet"):
        read_provenance(path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(UserError, match="not a logit store"):
        list(read_logits(path))
    with pytest.raises(UserError, match="does not exist"):
        list(read_logits(tmp_path / "other"))


def test_no_damage_goes_unnoticed_or_ends_in_a_traceback(tmp_path: Path):
    """One wrong bit anywhere: the rows are the same, or a message says that the file is damaged."""
    rng = np.random.default_rng(7)
    path = write(tmp_path / "s", [random_row(rng, f"d{i}") for i in range(40)], model="m")
    whole, rows = path.read_bytes(), [row.top_ids.tobytes() for row in read_logits(path)]
    for place in rng.integers(0, len(whole), 400).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with suppress(UserError):
            read_provenance(path)
            assert [row.top_ids.tobytes() for row in read_logits(path)] == rows


def test_shards_of_different_stores_are_not_mixed(tmp_path: Path):
    rows = [random_row(np.random.default_rng(3), "d")]
    a = write(tmp_path / "a", rows, model="pivot", dialogues="x")
    b = write(tmp_path / "b", rows, model="source", dialogues="y")
    assert check_shards([a, a], ["model"]) == {"model": "pivot"}
    assert check_shards([], ["model"]) == {}
    with pytest.raises(UserError, match=r"b .*model.*source.*pivot"):
        check_shards([a, b], ["model"])


def test_rows_that_do_not_fit_together_are_refused(tmp_path: Path):
    row = random_row(np.random.default_rng(4), "d")
    with pytest.raises(ValueError, match="token_ce"), LogitWriter(tmp_path / "s", {}) as writer:
        writer.write(replace(row, token_ce=row.token_ce[1:]))


def test_rows_that_were_not_scored_keep_their_place(tmp_path: Path):
    row = random_row(np.random.default_rng(5), "d")
    lost = unusable("d", row.input_ids, row.spans, 10)
    (found,) = read_logits(write(tmp_path / "s", [lost]))
    assert not found.usable
    assert row.usable
    assert found.top_ids.shape == (6, 10)
    assert np.isneginf(found.top_logprobs).all()
    assert read_columns(tmp_path / "s", ["dialogue_id"]).to_pylist() == [{"dialogue_id": "d"}]
    with pytest.raises(UserError, match="no column winner"):
        read_columns(tmp_path / "s", ["winner"])


def test_a_response_token_takes_no_more_than_promised(tmp_path: Path):
    """Ids without any pattern in a vocabulary of 32k, 40% response tokens: at most 45 bytes."""
    rng = np.random.default_rng(6)
    rows = []
    for i in range(256):
        spans = np.array([[180, 120]], np.int32)
        logits = np.sort(rng.normal(scale=3, size=(120, 10)), axis=1)[:, ::-1] - 12
        rows.append(
            DialogueLogits(
                f"{i:016x}",
                rng.integers(0, 32000, 300).astype(np.int32),
                spans,
                rng.integers(0, 32000, (120, 10)).astype(np.int32),
                np.minimum(logits, 0).astype(np.float16),
                rng.exponential(size=120).astype(np.float16),
                1.0,
                1.0,
            )
        )
    path = write(tmp_path / "s", rows)
    assert path.stat().st_size / (256 * 120) <= 45
