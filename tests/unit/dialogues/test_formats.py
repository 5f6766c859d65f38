"""Conversations as people have them: each format gives the same dialogue, all is counted."""

import json
import logging

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_models

import prepare_dialogues
from fusionchat.dialogues.dialogue import read_dialogues
from fusionchat.dialogues.formats import parse_record
from fusionchat.errors import UserError

SHAREGPT = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]
MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
TURNS = (("Hi", "Hello."),)


@pytest.mark.parametrize(
    ("record", "name", "system"),
    [
        ({"conversations": SHAREGPT}, "sharegpt", None),
        ({"conversations": MESSAGES}, "messages", None),
        ({"messages": MESSAGES}, "messages", None),
        ({"instruction": "Hi", "input": "", "output": "Hello."}, "alpaca", None),
        ({"system": "Be brief.", "conversations": SHAREGPT}, "sharegpt", "Be brief."),
        (
            {"messages": [{"role": "system", "content": "Be brief."}, *MESSAGES]},
            "messages",
            "Be brief.",
        ),
        ({"conversations": [{"from": "system", "value": ""}, *SHAREGPT]}, "sharegpt", None),
        (
            {"system_prompt": "Be brief.", "instruction": "Hi", "output": "Hello."},
            "alpaca",
            "Be brief.",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                    MESSAGES[1],
                ]
            },
            "messages",
            None,
        ),
    ],
)
def test_every_format_gives_the_same_dialogue(record, name, system):
    found, said = parse_record(record)
    assert (found, said.system, said.turns) == (name, system, TURNS)


def test_alpacas_input_and_history_are_part_of_the_dialogue():
    record = {"instruction": "Sum.", "input": "1, 2", "output": "3", "history": [["Hi", "Hello."]]}
    assert parse_record(record)[1].turns == (*TURNS, ("Sum.\n\n1, 2", "3"))


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ([], "not an object"),
        ({"text": "a"}, "neither `conversations`"),
        ({"messages": [*MESSAGES, {"role": "tool", "content": "42"}]}, r"a tool \(tool\)"),
        (
            {"conversations": [{"from": "observation", "value": "42"}, *SHAREGPT]},
            r"a tool \(observation\)",
        ),
        (
            {"messages": [MESSAGES[0], {**MESSAGES[1], "tool_calls": [{"name": "f"}]}]},
            r"a tool \(assistant\)",
        ),
        ({"messages": MESSAGES, "tools": [{"name": "f"}]}, "`tools`"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "narrator"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "not text"),
        ({"messages": [*MESSAGES, {"role": "system", "content": "x"}]}, "system message"),
        ({"instruction": "Hi", "output": "a", "history": ["x"]}, "history"),
        ({"instruction": "Hi", "output": 3}, "not text"),
        ({"system": 3, "messages": MESSAGES}, "`system` is not text"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(record, reason):
    with pytest.raises(ValueError, match=reason):
        parse_record(record)


@pytest.fixture
def prepare(tmp_path):
    tiny_models.tokenizer().save_pretrained(tmp_path / "pivot")

    def run(mixture, *more):
        names = {name: tmp_path / f"{name}.parquet" for name in ("output", "heldout-output")}
        paths = [f"--{name}={path}" for name, path in names.items()]
        base = [f"--mixture={mixture}", f"--pivot-model={tmp_path / 'pivot'}"]
        report = tmp_path / "report.json"
        prepare_dialogues.main([*base, *paths, f"--report={report}", *more])
        return read_dialogues(names["output"]), json.loads(report.read_text())

    return run


RECORDS = [
    {"conversations": SHAREGPT},
    {"messages": [{"role": "system", "content": "Be brief."}, *MESSAGES]},
    {"instruction": "What?", "input": "", "output": "That <eot> one."},
    {"conversations": [*SHAREGPT, {"from": "human", "value": "And?"}], "category": "math"},
]


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
def test_files_of_every_kind_are_read_and_counted(prepare, tmp_path, suffix):
    path = tmp_path / f"data{suffix}"
    if suffix == ".json":
        path.write_text(json.dumps(RECORDS))
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    else:
        keys = {key for record in RECORDS for key in record}
        rows = [{key: record.get(key) for key in keys} for record in RECORDS]
        pq.write_table(pa.Table.from_pylist(rows), path)
    dialogues, report = prepare(path)
    assert [one.turns for one in dialogues] == [TURNS, TURNS, (("What?", "That <eot> one."),)]
    assert [one.system for one in dialogues] == [None, "Be brief.", None]
    assert report["formats"] == {"sharegpt": 2, "messages": 1, "alpaca": 1}
    assert (report["records"], report["duplicates"], report["unanswered"]) == (4, 1, 1)
    assert (report["system"], report["special_text"]) == (1, 1)


def test_a_system_message_without_a_place_is_refused_or_skipped(prepare, tmp_path, caplog):
    template = tmp_path / "plain.jinja"
    template.write_text(
        "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}{{ eos_token }}"
        "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    path = tmp_path / "data.json"
    path.write_text(json.dumps(RECORDS[:3]))
    with pytest.raises(UserError, match=r"'Hi'.*no place for a system message.*--on-error skip"):
        prepare(path, f"--template={template}")
    with caplog.at_level(logging.WARNING):
        dialogues, report = prepare(path, f"--template={template}", "--on-error=skip")
    assert len(dialogues) == 2
    assert len(report["not_rendered"]) == 1
    assert "no place for a system message" in caplog.text
