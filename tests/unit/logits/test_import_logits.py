"""A released dump becomes the store that dump_logits makes, but for what the release lost."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import released_dump
import tiny_models
from datasets import Dataset

import dump_logits
import import_logits
from fusionchat.dialogues.dialogue import write_dialogues
from fusionchat.errors import UserError
from fusionchat.logits.released import key, length, normalised, vocabulary_size
from fusionchat.logits.store import read_logits, read_provenance

MODEL = "llama"
COUNT, LACKING = 12, 3


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A model, two shards of dialogues, its dumps by dump_logits, and the records of a release."""
    folder = tmp_path_factory.mktemp("released")
    tiny_models.save(folder / "model", MODEL)
    dialogues = tiny_models.dialogues(COUNT, seed=5)
    for name, part in (("0000", dialogues[:5]), ("0001", dialogues[5:])):
        write_dialogues(folder / f"{name}.parquet", part)
        dump_logits.main(
            [
                *(
                    "--model",
                    str(folder / "model"),
                    "--output",
                    str(folder / f"dump{name}.parquet"),
                ),
                *("--dialogues", str(folder / f"{name}.parquet"), "--dtype", "float32"),
            ]
        )
    return folder


@pytest.fixture(scope="module")
def records() -> list[dict]:
    """Every dialogue but some, in another order than the shards'."""
    model = tiny_models.build(MODEL)
    dialogues = tiny_models.dialogues(COUNT, seed=5)[LACKING:]
    return [released_dump.record(model, dialogue) for dialogue in reversed(dialogues)]


def run(world: Path, released: Path, output: Path, *options: str) -> list:
    import_logits.main(
        [
            *("--released", str(released), "--model", str(world / "model"), *options),
            *("--dialogues", str(world / "0000.parquet"), str(world / "0001.parquet")),
            *("--output", str(output)),
        ]
    )
    return [row for name in ("0000", "0001") for row in read_logits(output / f"{name}.parquet")]


def dumped(world: Path) -> list:
    return [row for name in ("0000", "0001") for row in read_logits(world / f"dump{name}.parquet")]


def check(rows: list, expected: list) -> None:
    """Equal but for the normalisation, within float16 of the logits."""
    for ours, theirs in zip(rows, expected, strict=True):
        assert ours.dialogue_id == theirs.dialogue_id
        np.testing.assert_array_equal(ours.input_ids, theirs.input_ids)
        np.testing.assert_array_equal(ours.spans, theirs.spans)
        if not ours.usable:
            continue
        exact = theirs.top_logprobs.astype(np.float64)
        exact -= np.logaddexp.reduce(exact, axis=1, keepdims=True)
        swapped = ours.top_ids != theirs.top_ids
        assert swapped.mean() < 0.02  # equal in float16
        np.testing.assert_allclose(ours.top_logprobs, exact, rtol=2**-9, atol=0.03)
        np.testing.assert_allclose(np.exp(ours.top_logprobs.astype(float)).sum(1), 1, atol=3e-3)
        assert ours.ce == pytest.approx(theirs.ce, rel=2e-3)
        assert ours.ce_byte == pytest.approx(theirs.ce_byte, rel=2e-3)


def as_datasetdict(folder: Path, data: Dataset) -> None:
    released_dump.save(folder, data)
    assert len(list(folder.rglob("*.arrow"))) == 2


def as_dataset(folder: Path, data: Dataset) -> None:
    data.save_to_disk(folder)
    (folder / "cache-1.arrow").write_bytes(b"what datasets keeps for itself")


def as_arrow_alone(folder: Path, data: Dataset) -> None:
    released_dump.save(folder / "saved", data)
    (folder / "data").mkdir()
    for path in folder.rglob("*.arrow"):
        path.rename(folder / "data" / path.name)
    shutil.rmtree(folder / "saved")


def as_parquet(folder: Path, data: Dataset) -> None:
    (folder / "data").mkdir(parents=True)
    data.to_parquet(folder / "data" / "train-00000-of-00001.parquet", batch_size=4)


@pytest.mark.parametrize("layout", [as_datasetdict, as_dataset, as_arrow_alone, as_parquet])
def test_an_import_equals_the_dump_but_for_what_is_lost(world, records, tmp_path, layout):
    layout(tmp_path / "released", released_dump.columns(records))
    rows = run(world, tmp_path / "released", tmp_path / "out")
    check(rows, dumped(world))
    assert [row.usable for row in rows] == [False] * LACKING + [True] * (COUNT - LACKING)
    assert all(np.isnan(row.token_ce).all() for row in rows)
    reports = [json.loads((tmp_path / "out" / f"000{i}.json").read_text()) for i in (0, 1)]
    assert reports[0]["missing"] == [row.dialogue_id for row in rows[:LACKING]]
    for empty in ("too_long", "not_finite", "other_labels"):
        assert reports[0][empty] == reports[1][empty] == reports[1]["missing"] == []
    assert [report["dialogues"] for report in reports] == [5, 7]
    facts = read_provenance(tmp_path / "out" / "0001.parquet")
    assert (facts["normalised"], facts["token_ce"]) == ("top_k", False)
    theirs = read_provenance(world / "dump0001.parquet")
    for shared in ("model", "vocabulary", "vocab_size", "dialogues", "template", "top_k"):
        assert facts[shared] == theirs[shared]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        f"000{i}.{ending}" for i in (0, 1) for ending in ("json", "parquet")
    )


def test_cross_entropies_of_tokens_are_kept_where_they_were_stored(world, records, tmp_path):
    released = released_dump.save(tmp_path / "r", released_dump.columns(records, token_ce=True))
    rows = run(world, released, tmp_path / "out")
    for ours, theirs in list(zip(rows, dumped(world), strict=True))[LACKING:]:
        np.testing.assert_allclose(ours.token_ce, theirs.token_ce, rtol=2e-3, atol=0.02)
    assert read_provenance(tmp_path / "out" / "0000.parquet")["token_ce"]


def test_fewer_entries_are_normalised_among_themselves(world, records, tmp_path):
    released = released_dump.save(tmp_path / "r", released_dump.columns(records))
    row = run(world, released, tmp_path / "out", "--top-k", "4")[-1]
    assert row.top_ids.shape[1] == 4
    np.testing.assert_allclose(np.exp(row.top_logprobs.astype(float)).sum(1), 1, atol=3e-3)


def test_entries_are_sorted_and_keep_their_ids():
    logits = np.array([[1.0, 3.0, 2.0], [0.0, -np.inf, 1.0]], np.float16)
    logprobs, ids = normalised(logits, np.array([[7, 8, 9], [4, 5, 6]]), 2)
    assert ids.tolist() == [[8, 9], [6, 4]]
    np.testing.assert_allclose(np.exp(logprobs).sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(logprobs[:, 0] - logprobs[:, 1], 1, rtol=1e-6)


def test_the_mask_may_have_holes_and_the_type_of_ids_does_not_count():
    assert length(np.array([0, 1, 0, 1, 0, 0])) == 4
    assert length(np.zeros(3)) == 0
    assert key(np.array([3, 1], np.int64)) == key(np.array([3, 1], np.int32)) != key(np.array([3]))


def test_numbers_that_are_not_finite_make_a_dialogue_unusable(world, records, tmp_path):
    broken = [dict(record) for record in records]
    broken[0]["metric_ce"] = np.float16("nan")
    logits = broken[1]["per_step_logits"].copy()
    logits[(broken[1]["labels"] != -100).argmax() - 1, 0] = np.inf
    broken[1]["per_step_logits"] = logits
    broken[2]["metric_ce"] = np.float16("inf")
    released = released_dump.save(tmp_path / "r", released_dump.columns(broken))
    rows = run(world, released, tmp_path / "out")
    assert [row.usable for row in rows[-4:]] == [True, False, False, False]
    report = json.loads((tmp_path / "out" / "0001.json").read_text())
    assert report["not_finite"] == [row.dialogue_id for row in rows[-3:]]


def test_what_is_longer_than_the_release_is_too_long(world, tmp_path, monkeypatch):
    monkeypatch.setattr(released_dump, "WIDTH", 150)
    lengths = {row.dialogue_id: len(row.input_ids) for row in dumped(world)}
    model, dialogues = tiny_models.build(MODEL), tiny_models.dialogues(COUNT, seed=5)
    fitting = [d for d in dialogues if lengths[d.dialogue_id] <= 150]
    records = [released_dump.record(model, dialogue) for dialogue in fitting]
    released = released_dump.save(tmp_path / "r", released_dump.columns(records))
    rows = run(world, released, tmp_path / "out")
    reports = [json.loads((tmp_path / "out" / f"000{i}.json").read_text()) for i in (0, 1)]
    too_long = [name for report in reports for name in report["too_long"]]
    assert too_long == [name for name, length in lengths.items() if length > 150]
    assert 0 < len(too_long) == sum(not row.usable for row in rows) < COUNT
    assert not any(report["missing"] for report in reports)


def relabelled(records: list[dict], count: int) -> list[dict]:
    """The first so many as without --mask_instruction."""
    free = [{**record, "labels": record["input_ids"]} for record in records[:count]]
    return free + records[count:]


def test_other_labels_are_counted_and_refused_where_all_are_other(world, records, tmp_path):
    some = released_dump.save(tmp_path / "a", released_dump.columns(relabelled(records, 1)))
    rows = run(world, some, tmp_path / "out")
    report = json.loads((tmp_path / "out" / "0001.json").read_text())
    assert report["other_labels"] == [rows[-1].dialogue_id]
    every = released_dump.save(tmp_path / "b", released_dump.columns(relabelled(records, COUNT)))
    with pytest.raises(UserError, match="column labels marks other tokens"):
        run(world, every, tmp_path / "none")
    assert list((tmp_path / "none").iterdir()) == []


def without(name: str):
    return lambda data: data.remove_columns(name)


def with_column(name: str, change):
    return lambda data: data.remove_columns(name).add_column(name, [change(v) for v in data[name]])


FAULTS = [
    (without("per_step_logits"), "has no column per_step_logits"),
    (without("metric_ce"), "has no column metric_ce"),
    (with_column("labels", str), "column labels is string"),
    (with_column("per_step_logits", lambda v: v[0]), "column per_step_logits is list.*depth 2"),
    (with_column("labels", lambda v: v[:-1]), "its columns differ in length"),
    (
        with_column("per_step_logits", lambda v: [[1.0], *v[1:]]),
        "lists of column per_step_logits differ in length",
    ),
    (
        with_column("per_step_indices", lambda v: [[-1] * len(x) for x in v]),
        "column per_step_indices; the model has",
    ),
    (with_column("input_ids", lambda v: [1, *v[1:]]), "holds none of these dialogues"),
]


@pytest.mark.parametrize(("change", "message"), FAULTS, ids=lambda part: str(part)[:40])
def test_foreign_and_damaged_columns_are_named(world, records, tmp_path, change, message):
    data = change(released_dump.columns(records))
    released = released_dump.save(tmp_path / "released", data)
    with pytest.raises(UserError, match=message) as caught:
        run(world, released, tmp_path / "out")
    assert "released" in str(caught.value)
    assert not list(tmp_path.glob("out/*"))


def test_foreign_and_damaged_folders_are_named(world, records, tmp_path):
    released = released_dump.save(tmp_path / "released", released_dump.columns(records))
    with pytest.raises(UserError, match=r"lists 10 entries a position, logits.top_k asks for 11"):
        run(world, released, tmp_path / "out", "--top-k", "11")
    with pytest.raises(UserError, match=r"and template 'vicuna_v1.1'; it is the dump of other"):
        run(world, released, tmp_path / "out", "--template", "vicuna_v1.1")
    file = next(released.rglob("data-00001-of-00002.arrow"))
    whole = file.read_bytes()
    for content in (b"version https://git-lfs.github.com/spec/v1\n", b"", whole[:-500]):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"data-00001-of-00002.arrow is damaged"):
            run(world, released, tmp_path / "out")
    file.unlink()
    with pytest.raises(UserError, match="holds 1 of the 2 files data-"):
        run(world, released, tmp_path / "out")
    shutil.rmtree(released)
    released.mkdir()
    (released / "data.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match=r"released holds no .arrow or .parquet file"):
        run(world, released, tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))


def test_columns_of_tokens_are_long_enough(world, records, tmp_path):
    short = [{**r, "per_step_metric_ce": r["per_step_metric_ce"][:-1]} for r in records]
    released = released_dump.save(tmp_path / "r", released_dump.columns(short, token_ce=True))
    with pytest.raises(UserError, match="column per_step_metric_ce is too short"):
        run(world, released, tmp_path / "out")


def test_dialogue_files_whose_stores_would_be_one_are_refused(world, tmp_path):
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "0000.parquet"
    write_dialogues(other, tiny_models.dialogues(2, seed=9))
    words = ["--released", str(world), "--model", str(world / "model"), "--output", str(tmp_path)]
    words += ["--dialogues", str(world / "0000.parquet"), str(other)]
    with pytest.raises(UserError, match="two files are called 0000"):
        import_logits.main(words)


def test_a_model_says_how_many_entries_it_has(tmp_path):
    (tmp_path / "config.json").write_text('{"text_config": {"vocab_size": 7}}')
    assert vocabulary_size(tmp_path) == 7
    for content, said in (
        ("{}", "names no vocab_size"),
        ('{"text_config": [7]}', "names no vocab_size"),
        ("[7]", "is not a JSON object"),
    ):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(UserError, match=f"config.json {said}"):
            vocabulary_size(tmp_path)


def test_other_files_of_arrow_are_no_dump(world, tmp_path):
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=r"x.parquet has no column input_ids"):
        run(world, tmp_path, tmp_path / "out")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match=r"x.parquet is damaged"):
        run(world, tmp_path, tmp_path / "out")
