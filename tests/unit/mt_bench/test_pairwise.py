"""Answers side by side: orders, winners, win rates with intervals, faults and kills."""

import json
import math
import os
import random
import signal
from pathlib import Path

import pandas as pd
import pytest
from mt_bench_files import answers, benchmark, jsonl
from mt_bench_server import FakeModel, serve
from test_judging_drills import Mix, digest, finish, start, unfinished, until

import judge_pairs
import pairwise
from fusionchat.errors import UserError
from fusionchat.files import read_jsonl
from fusionchat.mt_bench.endpoint.store import ResponseStore
from fusionchat.pairwise.matches import opponents
from fusionchat.pairwise.pair_prompts import parse_winner
from fusionchat.pairwise.win_rates import order, read_matches, win_rates


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")


def words(folder: Path, url: str = "", count: int = 8, models=("clm", "varm"), **more) -> list[str]:
    """A run of these models' answers against the first one's."""
    files = benchmark(folder, count)
    paths = [jsonl(folder / f"{name}.jsonl", answers(name, count)) for name in models]
    chosen = {"concurrency": 8, "first_wait": 0.01, "timeout": 20, **more}
    llm = ["--judge=openai", "--judge-model=j", f"--base-url={url}", f"--store={folder / 'store'}"]
    rule = ["--judge=rule", f"--questions={folder / 'question.jsonl'}"]
    options = [f"--{name.replace('_', '-')}={value}" for name, value in chosen.items()]
    return [
        *([*llm, *files, *options] if url else rule),
        *("--answers", *map(str, paths), f"--baseline={models[0]}"),
        f"--output={folder / 'pairs.jsonl'}",
    ]


def compare(folder: Path, **more) -> list[dict]:
    judge_pairs.main(words(folder, **more))
    return read_jsonl(folder / "pairs.jsonl")


def match(model="m", question=1, turn=1, winners=("model_1", "model_1"), against="clm") -> dict:
    g1, g2 = winners
    named = {"question_id": question, "turn": turn, "model_1": model, "model_2": against}
    return named | {"g1_winner": g1, "g2_winner": g2, "judge": ["j", "pair-v2"]}


def test_the_same_answer_wins_in_both_orders_whoever_is_shown_first(tmp_path):
    def prefer_varm(messages: list) -> str:
        text = messages[-1]["content"]
        return "[[A]]" if text.index("varm") < text.index("clm") else "[[B]]"

    with serve(FakeModel(reply=prefer_varm)) as url:
        records = compare(tmp_path, url=url)
    assert len(records) == 16
    assert {(r["g1_winner"], r["g2_winner"]) for r in records} == {("model_1", "model_1")}
    rate = win_rates(records)["varm"]
    assert (rate.wins, rate.rate, rate.order.alike) == (16, 1.0, 1.0)


def test_a_judge_that_follows_the_position_makes_ties_and_is_found_out(tmp_path):
    with serve(FakeModel(reply=lambda messages: "The first. [[A]]")) as url:
        records = compare(tmp_path, url=url)
    rate = win_rates(records)["varm"]
    assert (rate.wins, rate.ties, rate.losses, rate.rate) == (0, 16, 0, 0.5)
    assert (rate.order.first, rate.order.second, rate.order.alike) == (1.0, 0.0, 0.0)
    assert order(records).first == 1.0


def test_a_rule_compares_the_ratings_of_both(tmp_path):
    models = ("clm", "varm", "varm-seed2")
    arguments = words(tmp_path, models=models)
    for name, right in (("clm", 0), ("varm", 8), ("varm-seed2", 4)):
        records = answers(name, 8)
        for i, record in enumerate(records[:right]):
            record["choices"][0]["turns"] = [f"{i}", f"{-i}"]
        jsonl(tmp_path / f"{name}.jsonl", records)
    judge_pairs.main(arguments)
    records = read_jsonl(tmp_path / "pairs.jsonl")
    assert {record["judge"][0] for record in records} == {"rule"}
    shares = {name: [r["g1_winner"] for r in records if r["model_1"] == name] for name in models}
    assert shares["varm"].count("model_2") == 0 < shares["varm"].count("model_1")
    assert shares["varm-seed2"].count("model_1") < shares["varm"].count("model_1")
    assert order(records).alike == 1.0
    rate = win_rates(records)["varm"]
    assert rate.wins + rate.ties == 32


def test_a_verdict_is_read_as_fastchat_does_or_the_last_one_counts():
    assert parse_winner("[[B]], no: [[A]]") == parse_winner("[[A]], no: [[B]]") == 1.0
    assert parse_winner("[[A]], no: [[B]]", "last") == 0.0
    assert parse_winner("[[A]] or [[B]]? [[C]]", "last") == 0.5
    assert parse_winner("A", "last") == -1


def test_what_has_no_verdict_is_asked_again_then_missing(tmp_path):
    model = FakeModel(reply=lambda m: "Well." if "Question 3" in m[-1]["content"] else "Yes. [[B]]")
    with serve(model) as url:
        records = compare(tmp_path, url=url, attempts=2)
    failed = [r for r in records if r["question_id"] == 84]
    assert {r["g1_winner"] for r in failed} == {r["g2_winner"] for r in failed} == {"error"}
    assert all(r["g1_facts"]["missing"] == "no rating" for r in failed)
    assert len(model.requests) == 28 + 2 * 4
    assert win_rates(records)["varm"].missing == 2


def test_replicates_meet_the_baselines_replicate_of_their_seed():
    models = ["clm", "clm-seed2", "varm", "varm-seed2", "varm-seed3", "gpt"]
    assert opponents(models, "clm") == {
        "varm": "clm",
        "varm-seed2": "clm-seed2",
        "varm-seed3": "clm",
        "gpt": "clm",
    }


def test_an_interval_is_over_questions_and_gets_wider_where_their_turns_agree():
    draw = random.Random(0)
    won = [draw.choice(("model_1", "model_2")) for _ in range(160)]
    apart = [match(question=i // 2, turn=1 + i % 2, winners=(w, w)) for i, w in enumerate(won)]
    alike = [match(question=i // 2, turn=1 + i % 2, winners=(won[i // 2],) * 2) for i in range(160)]
    one, other = (win_rates(records)["m"] for records in (apart, alike))
    error = math.sqrt(0.25 / 160)
    assert one.high - one.low == pytest.approx(2 * 1.98 * error, rel=0.15)
    assert other.high - other.low == pytest.approx(2 * 1.98 * error * math.sqrt(2), rel=0.15)
    assert one.low < 0.5 < one.high
    assert one.p > 0.05


def test_p_values_are_corrected_and_a_clear_winner_differs_from_a_half():
    records = [
        match(model, i, winners=(w, w))
        for model, won in (("good", 70), ("even", 40), ("bad", 10))
        for i in range(80)
        for w in ["model_1" if i < won else "model_2"]
    ]
    rates = win_rates(records)
    assert rates["good"].p_holm < 0.001
    assert rates["even"].p_holm == 1.0
    assert rates["bad"].rate == 0.125
    assert all(rate.p_holm >= rate.p for rate in rates.values())


def test_the_table_names_baseline_judge_and_position(tmp_path):
    rows = ["--row=Target:clm:CLM", "--row=Fused:varm:VaRM", "--row=Fused:lin:Linear & co"]
    ways = [("model_1", "model_1"), ("model_1", "model_2"), ("tie", "model_1"), ("error", "tie")]
    records = [match(m, i, winners=ways[i % 4]) for m in ("varm", "lin") for i in range(16)]
    path = jsonl(tmp_path / "pairs.jsonl", records)
    words = [f"--output={tmp_path / 'pairwise'}", f"--values={tmp_path / 'values.parquet'}"]
    pairwise.main([f"--matches={path}", *rows, *words])
    table = pd.read_csv(tmp_path / "pairwise.csv").set_index("model")
    assert table.loc["varm", ["wins", "ties", "losses", "missing"]].tolist() == [4, 8, 0, 4]
    assert table.loc["varm", "rate"] == pytest.approx(8 / 12)
    assert table.loc["varm", "order_first"] == pytest.approx(4 / 12)
    text = (tmp_path / "pairwise.md").read_text()
    assert "Against CLM; judge: j." in text
    assert "8 matches have no verdict" in text
    assert "33.3% followed the first position" in text
    assert r"Linear \& co" in (tmp_path / "pairwise.tex").read_text()
    assert "Linear &amp; co" in (tmp_path / "pairwise.html").read_text()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"g1_winner": "A"}, "line 2: g1_winner is 'A', none of"),
        ({"question_id": 0}, "line 2: this comparison appears twice, first in line 1"),
        ({"question_id": [1]}, r"line 2: question_id is \[1\], not a whole number"),
        ({"turn": True}, "line 2: turn is True, not a whole number"),
        ({"model_1": None}, "line 2: model_1 is None, not a name"),
        ({"judge": "gpt-4"}, "line 2: judge is 'gpt-4', not a list of judge and prompt"),
        ({"model_2": "other"}, "line 2: another judge or baseline"),
        ({"judge": ["k", "pair-v2"]}, "line 2: another judge or baseline"),
    ],
)
def test_foreign_matches_are_refused(tmp_path, changed, said):
    path = jsonl(tmp_path / "pairs.jsonl", [match(question=0), match() | changed])
    with pytest.raises(UserError, match=said):
        read_matches(path)


def test_a_baseline_without_answers_is_named(tmp_path):
    arguments = [w.replace("--baseline=clm", "--baseline=clmm") for w in words(tmp_path)]
    with pytest.raises(UserError, match=r"--baseline clmm: no answers of it .*clm, varm"):
        judge_pairs.main(arguments)


@pytest.mark.timeout(300)
def test_kills_and_faults_change_nothing_and_every_order_is_judged_once(tmp_path, monkeypatch):
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    calm.mkdir(), rough.mkdir()
    models = ("clm", "varm", "linear")

    def reply(messages: list) -> str:
        return f"[[{'ABC'[digest(messages) % 3]}]]"

    with serve(FakeModel(reply=reply)) as url:
        expected = compare(calm, url=url, count=40, models=models)
    assert {r["g1_winner"] for r in expected} == {"model_1", "model_2", "tie"}
    server = FakeModel(reply=reply, answer=Mix(0.2, seed=3), delay=0.02)
    with serve(server) as url:
        arguments = words(rough, url, 40, models, retries=30, timeout=60)
        running = start(arguments, judge_pairs.main)
        for _ in range(5):
            before = len(server.requests)
            until(lambda before=before: len(server.requests) >= before + 20)
            os.kill(running, signal.SIGKILL)
            assert finish(running) == -signal.SIGKILL
            running = start(arguments, judge_pairs.main)
        assert finish(running) == 0
    assert (rough / "pairs.jsonl").read_bytes() == (calm / "pairs.jsonl").read_bytes()
    shown = {json.dumps(body["messages"]) for body in server.requests}
    assert len(shown) == len(set(server.keys)) == len(server.answered) == 2 * 2 * 2 * 40
    # A reply is repeated only if a kill took it.
    assert sum(server.answered.values()) - 320 <= sum(unfinished(rough / "store"))
    monkeypatch.delenv("OPENAI_API_KEY")  # a replay needs neither key nor server
    calls = ResponseStore(rough / "store").account().calls
    judge_pairs.main([w.replace("127.0.0.1", "nowhere.invalid") for w in arguments])
    assert (rough / "pairs.jsonl").read_bytes() == (calm / "pairs.jsonl").read_bytes()
    assert ResponseStore(rough / "store").account().calls == calls
