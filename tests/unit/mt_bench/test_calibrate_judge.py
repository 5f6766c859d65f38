"""Agreement with people, on votes in the published format, against FastChat's own functions."""

import csv
import hashlib
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from judge_runs import options
from mt_bench_files import jsonl, questions
from mt_bench_server import FakeModel, serve

import calibrate_judge
from fusionchat.errors import UserError

MODELS = ("alpaca", "gpt", "vicuna")


def conversation(model: str, question: int) -> list[dict]:
    turns = questions(8)[question]["turns"]
    return [
        message
        for i, asked in enumerate(turns)
        for message in (
            {"role": "user", "content": asked},
            {"role": "assistant", "content": f"{model}'s answer {i} to {question}"},
        )
    ]


def votes(seed: int = 0, count: int = 120) -> list[dict]:
    """Random votes, most of them by experts, in both orders of the models."""
    draw, rows = random.Random(seed), []
    for _ in range(count):
        a, b = draw.sample(MODELS, 2)
        question = draw.randrange(8)
        rows.append(
            {
                "question_id": 81 + question,
                "model_a": a,
                "model_b": b,
                "winner": draw.choice(["model_a", "model_b", "tie"]),
                "judge": draw.choice(["expert_1", "expert_2", "author_0"]),
                "conversation_a": conversation(a, question),
                "conversation_b": conversation(b, question),
                "turn": draw.choice([1, 2]),
            }
        )
    return rows


def calibrate(folder: Path, file: Path, model: FakeModel) -> list[dict]:
    with serve(model) as url:
        words = [w for w in options(folder, url, count=8) if not w.startswith("--answers")]
        output = next(w for w in words if w.startswith("--output"))
        words.remove(output)
        words += [f"--votes={file}", f"--judgments={folder / 'judged.jsonl'}"]
        calibrate_judge.main([*words, f"--output={folder / 'agreement.csv'}"])
    with (folder / "agreement.csv").open() as stream:
        return list(csv.DictReader(stream))


def reply(messages: list) -> str:
    """A score for every answer, with ties among them; none for one of them."""
    text = messages[-1]["content"]
    if "vicuna's answer 0 to 3" in text and "Q1" not in text:
        return "I cannot say."
    return f"Rating: [[{1 + hashlib.sha256(text.encode()).digest()[0] % 3}]]"


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_agreement_is_fastchats(tmp_path, kind):
    from fastchat.llm_judge import compute_agreement as fastchat

    rows = votes()
    if kind == "parquet":
        file = tmp_path / "human.parquet"
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        file = jsonl(tmp_path / "human.jsonl", rows)
    found = calibrate(tmp_path, file, FakeModel(reply=reply))
    from fusionchat.files import read_jsonl

    score = {
        (r["question_id"], r["model"], r["turn"]): r["score"]
        for r in read_jsonl(tmp_path / "judged.jsonl")
    }
    assert list(score.values()).count(-1) == 1
    judged = [
        row
        | {
            "judge": ["gpt-4", "pair"],
            "winner": "tie" if one == two else "model_a" if one > two else "model_b",
        }
        for row in rows
        for one, two in [[score.get((row["question_id"], row[m], row["turn"]), -1)
                          for m in ("model_a", "model_b")]]
        if -1 not in (one, two)
    ]  # fmt: skip
    data = fastchat.get_mt_bench_votes_data([rows, judged])
    for turn in data:
        for given in turn.values():
            given["gpt4-pair"] = given.get("gpt4-pair", [])[:1]
            if not given["gpt4-pair"]:
                del given["gpt4-pair"]
    for row in found:
        names = ("gpt4-pair", "human") if row["judge"] != "people" else ("human", "human")
        ban = [] if row["ties"] == "with" else ["tie"]
        expected = fastchat.get_mt_bench_agreement(data[int(row["turn"]) - 1], *names, ban)
        assert (int(row["agreed"]), int(row["votes"])) == expected
        assert float(row["agreement"]) == pytest.approx(expected[0] / expected[1])
    assert len(found) == 8
    assert sum(int(row["unrated"]) for row in found) > 0


def test_only_answers_that_people_voted_on_are_judged_once(tmp_path):
    rows = [row for row in votes() if row["turn"] == 1 and row["question_id"] < 83]
    model = FakeModel(reply=reply)
    calibrate(tmp_path, jsonl(tmp_path / "human.jsonl", rows), model)
    experts = [row for row in rows if row["judge"].startswith("expert")]
    answers = {(row["question_id"], row[m]) for row in experts for m in ("model_a", "model_b")}
    assert len(model.requests) == len(answers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"winner": "both"}, "line 1: winner is 'both'"),
        ({"conversation_a": ["x"]}, "line 1: a conversation is no list of roles"),
        ({"turn": 3}, "turn 3 of question"),
        ({"question_id": 7}, "of question 7 is not in the questions"),
        ({"judge": "author_1"}, "holds no votes of experts"),
    ],
)
def test_wrong_votes_are_explained(tmp_path, change, message):
    row = votes(count=1)[0] | {"judge": "expert_0"} | change
    with pytest.raises(UserError, match=message):
        calibrate(tmp_path, jsonl(tmp_path / "human.jsonl", [row]), FakeModel())


def test_votes_without_conversations_are_explained(tmp_path):
    row = {k: v for k, v in votes(count=1)[0].items() if k != "conversation_b"}
    with pytest.raises(UserError, match=r"line 1: not a vote .*conversation_b is missing"):
        calibrate(tmp_path, jsonl(tmp_path / "human.jsonl", [row]), FakeModel())
