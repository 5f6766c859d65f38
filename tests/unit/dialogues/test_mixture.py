"""From a released mixture to dialogues: faults, duplicates, held-out ones, splits at turns."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tiny_models

import prepare_dialogues
import shard_dialogues
from fusionchat.dialogues import mixture
from fusionchat.dialogues.dialogue import Dialogue, read_dialogues, stable_id, write_dialogues
from fusionchat.errors import UserError

LIMIT = 110


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_models.tokenizer().save_pretrained(tmp_path / "pivot")
    return tmp_path


def prepare(folder: Path, *options: str) -> tuple[list[Dialogue], list[Dialogue], dict]:
    files = {
        "mixture": folder / "mixture.json",
        "pivot-model": folder / "pivot",
        "output": folder / "train.parquet",
        "heldout-output": folder / "heldout.parquet",
        "report": folder / "report.json",
        "max-length": LIMIT,
    }
    argv = [text for name, value in files.items() for text in (f"--{name}", str(value))]
    prepare_dialogues.main([*argv, *options])
    train, heldout = (
        read_dialogues(files[name]) if pq.read_metadata(files[name]).num_rows else []
        for name in ("output", "heldout-output")
    )
    return train, heldout, json.loads(files["report"].read_text())


def original(dialogue: Dialogue) -> str:
    return dialogue.dialogue_id.partition("-")[0]


def test_nothing_is_lost_or_longer_than_the_limit(folder):
    items = tiny_models.dialogues(80)
    tiny_models.mixture(folder / "mixture.json", [*items, items[3]])
    train, heldout, report = prepare(folder, "--heldout", "9")
    assert report["duplicates"] == 1
    assert report["records"] == 81
    assert report["held_out"] == 9 >= len({original(d) for d in heldout}) > 5
    assert not {original(d) for d in heldout} & {original(d) for d in train}
    rows = [*train, *heldout]
    assert len({d.dialogue_id for d in rows}) == len(rows)
    turns = {d.dialogue_id: [] for d in items}
    for row in rows:
        turns[original(row)].extend(row.turns)
        encoded = tiny_models.renderer().encode(row)
        assert len(encoded.input_ids) <= LIMIT
    dropped = 0
    for item in items:
        assert [t for t in item.turns if t in turns[item.dialogue_id]] == turns[item.dialogue_id]
        dropped += len(item.turns) - len(turns[item.dialogue_id])
    assert dropped == sum(report["turns_too_long"].values()) > 0


def test_the_held_out_choice_does_not_depend_on_order_or_length(folder):
    items = tiny_models.dialogues(40)
    tiny_models.mixture(folder / "mixture.json", items)
    _, first, _ = prepare(folder, "--heldout", "5")
    tiny_models.mixture(folder / "mixture.json", items[::-1])
    _, second, _ = prepare(folder, "--heldout", "5", "--max-length", "200")
    assert {original(d) for d in first} == {original(d) for d in second}


def test_faults_name_the_record_or_are_skipped_and_counted(folder):
    path = tiny_models.mixture(folder / "mixture.json", tiny_models.dialogues(5))
    records = json.loads(path.read_text())
    records[2]["conversations"].insert(0, {"from": "tool", "value": "42"})
    records[4] = {"id": "x"}
    half = [{"from": "human", "value": "\ud800"}, {"from": "gpt", "value": "b"}]
    records.append({"conversations": half})
    path.write_text(json.dumps(records))
    with pytest.raises(UserError, match=r"record 2: .*tool.*--on-error skip"):
        prepare(folder)
    assert not (folder / "train.parquet").exists()
    train, _, report = prepare(folder, "--on-error", "skip", "--max-length", "500")
    assert list(report["malformed"]) == ["2", "4", "5"]
    assert len(train) == report["training_rows"] == 3
    path.write_text('{"a": 1}')
    with pytest.raises(UserError, match="not a JSON list"):
        prepare(folder)
    path.write_text("[1,")
    with pytest.raises(UserError, match="not valid JSON"):
        prepare(folder)


def test_frozen_exclusions(folder):
    tiny_models.mixture(folder / "mixture.json", tiny_models.dialogues(10))
    before, _, _ = prepare(folder)
    names = [before[0].dialogue_id, before[5].dialogue_id]
    (folder / "exclude.txt").write_text("# not finite\n" + "\n".join(names) + "\n\nother\n")
    after, _, report = prepare(folder, "--exclude", str(folder / "exclude.txt"))
    assert [d for d in before if d.dialogue_id not in names] == after
    assert (report["excluded"], report["unknown_exclusions"]) == (2, 1)


def test_more_held_out_than_there_are_is_a_mistake(folder):
    tiny_models.mixture(folder / "mixture.json", tiny_models.dialogues(3))
    with pytest.raises(UserError, match="3 dialogues to hold out, but the mixture has 3"):
        prepare(folder, "--heldout", "3")


def test_turns_are_packed_into_blocks_and_impossible_ones_left_out():
    sizes = (3, 3, 9, 2, 5, 1)
    turns = tuple((name, "a" * size) for name, size in zip("pqrstu", sizes, strict=True))

    def fits(some: mixture.Turns) -> bool:
        return sum(len(answer) for _, answer in some) <= 7

    blocks, dropped = mixture.split_turns(turns, fits)
    assert ["".join(name for name, _ in block) for block in blocks] == ["pq", "st", "u"]
    assert dropped == 1
    assert mixture.split_turns(turns[:2], fits) == ([turns[:2]], 0)
    assert mixture.split_turns(turns[2:3], fits) == ([], 1)


def test_blocks_without_an_answer_are_left_out():
    turns = (("p", "a" * 7), ("q", ""), ("r", "a" * 7), ("s", ""))

    def fits(some: mixture.Turns) -> bool:
        return len(some) == 1

    blocks, dropped = mixture.split_turns(turns, fits)
    assert (blocks, dropped) == ([turns[:1], turns[2:3]], 0)


def test_a_mixture_of_which_nothing_is_left_is_a_mistake(folder):
    tiny_models.mixture(folder / "mixture.json", tiny_models.dialogues(3))
    with pytest.raises(UserError, match=r"none of 3 records is left .*--max-length"):
        prepare(folder, "--max-length", "16")
    assert not (folder / "train.parquet").exists()
    with pytest.raises(SystemExit):
        prepare(folder, "--heldout", "-1")


def test_shards_are_consecutive_and_even(tmp_path):
    items = tiny_models.dialogues(11)
    write_dialogues(tmp_path / "d.parquet", items)
    argv = ["--dialogues", str(tmp_path / "d.parquet"), "--output-folder", str(tmp_path / "shards")]
    shard_dialogues.main([*argv, "--shards", "3"])
    paths = sorted((tmp_path / "shards").iterdir())
    assert [path.name for path in paths] == ["0000.parquet", "0001.parquet", "0002.parquet"]
    shards = [read_dialogues(path) for path in paths]
    assert [d for shard in shards for d in shard] == items
    assert sorted(map(len, shards)) == [3, 4, 4]
    named = [str(tmp_path / "a"), str(tmp_path / "b")]
    shard_dialogues.main(["--dialogues", str(tmp_path / "d.parquet"), "--output", *named])
    assert [len(read_dialogues(path)) for path in named] == [5, 6]
    with pytest.raises(UserError, match="11 dialogues cannot fill 12 shards"):
        shard_dialogues.main([*argv, "--shards", "12"])


def test_an_identifier_is_that_of_the_text():
    record = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    parsed = mixture.parse_record({"id": "1", **record}, mixture.Report())
    assert parsed.dialogue_id == stable_id([("a", "b")])


def test_a_limit_takes_the_same_dialogues_in_any_order_and_leaves_the_held_out_ones(folder):
    items = tiny_models.dialogues(60)
    tiny_models.mixture(folder / "mixture.json", items)
    _, heldout, whole = prepare(folder, "--heldout", "5")
    first, kept, report = prepare(folder, "--heldout", "5", "--limit", "20")
    tiny_models.mixture(folder / "mixture.json", items[::-1])
    second, _, _ = prepare(folder, "--heldout", "5", "--limit", "20")
    more, _, _ = prepare(folder, "--heldout", "5", "--limit", "30")
    chosen = {original(d) for d in first}
    assert kept == heldout
    assert chosen == {original(d) for d in second} < {original(d) for d in more}
    assert (whole["beyond_limit"], report["beyond_limit"]) == (0, 35)
    order = [i.dialogue_id for i in items]
    assert [d.dialogue_id for d in first] == sorted(
        (d.dialogue_id for d in first), key=lambda n: (order.index(n.partition("-")[0]), n)
    )
