"""Reading, checking and storing dialogues."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusionchat.dialogues.dialogue import (
    SCHEMA,
    Dialogue,
    read_dialogues,
    stable_id,
    write_dialogues,
)
from fusionchat.dialogues.formats import parse_conversations
from fusionchat.errors import UserError


def message(speaker: str, text: str) -> dict[str, str]:
    return {"from": speaker, "value": text}


def test_a_leading_answer_and_a_trailing_question_are_dropped():
    messages = [message("gpt", "a"), message("human", "b"), message("gpt", "c")]
    said = parse_conversations([*messages, message("human", "d")])
    assert said == (None, (("b", "c"),), True, True)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "list of messages"),
        ("text", "list of messages"),
        ([message("human", "a"), message("human", "b"), message("gpt", "c")], "alternate"),
        ([message("human", "a"), message("system", "b"), message("gpt", "c")], "system"),
        ([message("narrator", "a"), message("gpt", "b")], "narrator"),
        ([{"value": "a"}], "lacks"),
        ([message("human", "a"), {"from": "gpt", "value": 3}], "not text"),
        ([message("human", "a")], "no user message"),
        ([message("human", "a"), message("gpt", "")], "are empty"),
    ],
)
def test_malformed_conversations_name_their_fault(messages, reason):
    with pytest.raises(ValueError, match=reason):
        parse_conversations(messages)


def test_the_identifier_depends_on_text_and_its_borders():
    assert stable_id([("ab", "c")]) == stable_id([("ab", "c")])
    assert stable_id([("ab", "c")]) != stable_id([("a", "bc")])


def test_dialogues_survive_the_file(tmp_path: Path):
    dialogues = [
        Dialogue("x", (("ä", "b\n"), ("c", "")), "math"),
        Dialogue("y", (("q", "a"),)),
        Dialogue("z", (("q", "a"),), system="Be brief."),
    ]
    assert write_dialogues(tmp_path / "d.parquet", dialogues) == 3
    assert read_dialogues(tmp_path / "d.parquet") == dialogues


def test_a_foreign_file_is_refused(tmp_path: Path):
    (tmp_path / "d.parquet").write_text("no parquet")
    with pytest.raises(UserError, match=r"d\.parquet"):
        read_dialogues(tmp_path / "d.parquet")


def test_a_damaged_file_is_refused(tmp_path: Path):
    path = tmp_path / "d.parquet"
    write_dialogues(path, [Dialogue(f"{i:016x}", (("q" * i, f"a{i}"),)) for i in range(500)])
    whole = path.read_bytes()
    for place in range(4, len(whole) // 2, 97):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            read_dialogues(path)


def test_a_dialogue_that_does_not_alternate_is_named(tmp_path: Path):
    messages = [message("human", "a"), message("human", "b"), message("gpt", "c")]
    row = {"dialogue_id": "x7", "category": None, "conversations": messages}
    pq.write_table(pa.Table.from_pylist([row], schema=SCHEMA), tmp_path / "d.parquet")
    with pytest.raises(UserError, match=r"d\.parquet, dialogue x7: .*alternate"):
        read_dialogues(tmp_path / "d.parquet")
