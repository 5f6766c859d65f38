"""AlpacaEval 2: order, prompt, preference, faults and kills; files that are not its own."""

import json
import math
import os
import random
import signal
from pathlib import Path

import pytest
from alpaca_files import excerpt, gamed
from mt_bench_files import jsonl
from mt_bench_server import FakeModel, Fault, completion, said, serve
from test_judging_drills import Mix, digest, finish, start, unfinished, until

import fetch_alpaca
import judge_alpaca
from fusionchat.alpaca_eval.comparisons import is_swapped
from fusionchat.alpaca_eval.data import read_gamed
from fusionchat.alpaca_eval.rates import answers as judged_answers
from fusionchat.alpaca_eval.rates import rate_columns, read_annotations
from fusionchat.errors import UserError
from fusionchat.files import read_jsonl

PROMPT = """<|im_start|>system
Judge.
<|im_end|>
<|im_start|>user
I: {instruction} {not_a_field}
m: {output_1}
M: {output_2}
Best:
<|im_end|>"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")


def data(folder: Path, count: int = 20) -> Path:
    """AlpacaEval's files, fetched from a folder of our own."""
    own = folder / "own"
    own.mkdir(parents=True)
    (own / "prompt.txt").write_text(PROMPT)
    outputs = [
        {
            "dataset": "koala",
            "instruction": f"Say {{output_2}} {i}.",
            "output": f"base {i} " * (1 + i % 5),
            "generator": "base",
        }
        for i in range(count)
    ]
    (own / "outputs.json").write_text(json.dumps(outputs))
    gamed(own / "gamed.csv", count)
    fetch_alpaca.main([f"--data={own}", f"--output={folder / 'data'}"])
    return folder / "data"


def words(folder: Path, url: str, count: int = 20, models=("a", "b"), **more) -> list[str]:
    """A run on answers of these models; the first time it makes them."""
    if not (folder / "data").exists():
        data(folder, count)
    files = []
    for name in models:
        records = [
            {
                "question_id": i,
                "model_id": name,
                "choices": [{"index": 0, "turns": [f"{name} answers {i} " * (1 + i % 3)]}],
            }
            for i in range(count)
        ]
        files.append(str(jsonl(folder / f"{name}.jsonl", records)))
    chosen = {"concurrency": 8, "first_wait": 0.01, "timeout": 20, **more}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in chosen.items()]
    given = folder / "data"
    return [
        *("--judge=openai", "--judge-model=j", f"--base-url={url}", f"--store={folder / 'store'}"),
        *(f"--questions={given / 'question.jsonl'}", f"--outputs={given / 'outputs.json'}"),
        *(f"--prompts={given / 'prompt.txt'}", "--answers", *files, *options),
        f"--output={folder / 'annotations.jsonl'}",
    ]


def weighed(body: dict) -> Fault:
    """A reply of one token with probabilities that depend on what is shown."""
    share = (1 + digest(body["messages"])) / 258
    listed = [("m", share), ("M", 1 - share), ("Both", 1e-9)]
    top = [{"token": token, "logprob": math.log(p)} for token, p in listed]
    choice = {"finish_reason": "length", "logprobs": {"content": [{"top_logprobs": top}]}}
    return said(completion("m" if share > 0.5 else "M", choice=choice))


def test_the_preference_is_weighed_by_the_probabilities_and_follows_the_model(tmp_path):
    model = FakeModel(answer=weighed)
    with serve(model) as url:
        judge_alpaca.main(words(tmp_path, url))
    records = read_annotations(tmp_path / "annotations.jsonl")
    assert len(records) == 40 == len(model.requests)
    sent = {(b["logprobs"], b["top_logprobs"], b["max_tokens"]) for b in model.requests}
    assert sent == {(True, 5, 1)}
    by_text = {body["messages"][1]["content"]: body for body in model.requests}
    for record in records:
        both = [record["output_1"], record["output_2"]]
        shown = both[::-1] if record["is_switched_outputs"] else both
        text = f"I: {record['instruction']} {{not_a_field}}\nm: {shown[0]}\nM: {shown[1]}\nBest:"
        share = (1 + digest(by_text[text]["messages"])) / 258
        wins = share if record["is_switched_outputs"] else 1 - share
        assert record["preference"] == pytest.approx(1 + wins, abs=1e-9)
    assert 5 < sum(r["is_switched_outputs"] for r in records) < 35


def test_a_judge_without_probabilities_counts_by_its_word(tmp_path):
    replies = iter(["m", "`M`", "The first one"] * 40)
    model = FakeModel(reply=lambda messages: next(replies))
    with serve(model) as url:
        arguments = words(tmp_path, url, models=("a",), concurrency=1, attempts=1)
        judge_alpaca.main([*arguments, "--no-logprobs"])
    assert all("logprobs" not in body for body in model.requests)
    records = read_annotations(tmp_path / "annotations.jsonl")
    for record in records:
        first = {0: True, 1: False, 2: None}[record["index"] % 3]
        wanted = None if first is None else 2.0 if first == record["is_switched_outputs"] else 1.0
        assert record["preference"] == wanted
        assert ("missing" in record) == (first is None)
    counts = judged_answers(records)
    assert (counts.judged, counts.missing) == (14, 6)


def test_the_order_is_a_coin_of_question_and_seed():
    asked = [f"Question {i}?" for i in range(400)]
    coins = [is_swapped(text, 0) for text in asked]
    assert coins == [is_swapped(text, 0) for text in asked]
    assert 160 < sum(coins) < 240
    assert 160 < sum(a == is_swapped(t, 1) for a, t in zip(coins, asked, strict=True)) < 240
    # What alpaca_eval 0.6.6 draws: random_seeded_choice("is_switched_outputs" + text + "0", ...)
    assert coins[:8] == ORDER


ORDER = [random.Random(f"is_switched_outputsQuestion {i}?0").random() >= 0.5 for i in range(8)]


def test_equal_answers_are_a_tie(tmp_path):
    with serve(FakeModel(reply=lambda messages: "m")) as url:
        arguments = words(tmp_path, url, models=("a",))
        outputs = json.loads((tmp_path / "data" / "outputs.json").read_text())
        records = read_jsonl(tmp_path / "a.jsonl")
        records[3]["choices"][0]["turns"] = [outputs[3]["output"]]
        jsonl(tmp_path / "a.jsonl", records)
        judge_alpaca.main(arguments)
    records = read_annotations(tmp_path / "annotations.jsonl")
    assert [r["index"] for r in records if r["preference"] == 1.5] == [3]


@pytest.mark.timeout(300)
def test_kills_and_faults_change_nothing_and_every_comparison_is_made_once(tmp_path, monkeypatch):
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    calm.mkdir(), rough.mkdir()
    with serve(FakeModel(answer=weighed)) as url:
        judge_alpaca.main(words(calm, url, 60))
    faults = Mix(0.2, seed=3)
    server = FakeModel(answer=lambda body: faults(body) or weighed(body), delay=0.02)
    with serve(server) as url:
        arguments = words(rough, url, 60, retries=30, timeout=60)
        running = start(arguments, judge_alpaca.main)
        for _ in range(4):
            before = len(server.requests)
            until(lambda before=before: len(server.requests) >= before + 12)
            os.kill(running, signal.SIGKILL)
            assert finish(running) == -signal.SIGKILL
            running = start(arguments, judge_alpaca.main)
        assert finish(running) == 0
    written = (calm / "annotations.jsonl").read_bytes()
    assert (rough / "annotations.jsonl").read_bytes() == written
    assert len(set(server.keys)) == 120
    kept = [e for p in (rough / "store").glob("*.jsonl") for e in read_jsonl(p)]
    assert sum(event["event"] == "response" for event in kept) == 120
    assert max(unfinished(rough / "store")) <= 8
    monkeypatch.delenv("OPENAI_API_KEY")  # a replay needs neither key nor server
    judge_alpaca.main([w.replace("127.0.0.1", "nowhere.invalid") for w in arguments])
    assert (rough / "annotations.jsonl").read_bytes() == written


def test_what_is_not_alpacaevals_is_refused(tmp_path):
    good = excerpt(60, 0.0, 1)
    path = jsonl(tmp_path / "a.jsonl", [*good, good[0]])
    with pytest.raises(UserError, match="line 61: this comparison appears twice, first in line 1"):
        read_annotations(path)
    for changed, message in (
        ({"preference": 3}, "preference is 3, not a number from 1 to 2"),
        ({"preference": True}, "preference is True, not a number from 1 to 2"),
        ({"index": True}, "index is not the question's number"),
    ):
        jsonl(path, [good[0] | changed])
        with pytest.raises(UserError, match=message):
            read_annotations(path)
    known = read_gamed(gamed(tmp_path / "g.csv", 10))
    with pytest.raises(UserError, match="question 10: its difficulty"):
        rate_columns(good, known)
    arguments = words(tmp_path, "http://127.0.0.1:1")
    file = tmp_path / "data" / "question.jsonl"
    file.write_text(file.read_text().replace("Say {output_2} 1.", "Say"))
    with pytest.raises(UserError, match="question 1 is not that of the baseline's outputs"):
        judge_alpaca.main(arguments)
