"""Judging under faults, kills and budgets, by several jobs on one store."""

import hashlib
import json
import os
import random
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from forks import finish
from judge_runs import KEY, judgments, option, options
from mt_bench_files import answers, jsonl
from mt_bench_server import FakeModel, Fault, completion, said, serve
from test_server_behaviours import PASSING

import judge
from fusionchat.errors import UserError
from fusionchat.files import read_jsonl
from fusionchat.mt_bench.endpoint.store import ResponseStore


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def digest(messages: list) -> int:
    return hashlib.sha256(json.dumps(messages).encode()).digest()[0]


def rate(messages: list) -> str:
    """A rating that depends on what is shown."""
    return f"Rating: [[{1 + digest(messages) % 10}]]"


def same_answers(folder: Path, model: str) -> None:
    """Answers of another name that are m's own."""
    records = [record | {"model_id": model} for record in answers("m")]
    jsonl(folder / f"{model}.jsonl", records)


def start(arguments: list[str], main: Callable[[list[str]], None] = judge.main) -> int:
    """Judge in a process of its own; returns its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        main(arguments)
        code = 0
    except UserError as error:
        answered = next(a for a in arguments if a.startswith("--answers="))
        Path(answered.removeprefix("--answers=")).with_suffix(".error").write_text(str(error))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def unfinished(store: Path) -> list[int]:
    """How many calls of each process have no outcome in a store."""
    lines = [p.read_text().rpartition("\n")[0].split("\n") for p in store.glob("*.jsonl")]
    segments = [[json.loads(line) for line in part if line] for part in lines]
    opening = ("opened", "closed", "sent", "submitted")
    ended = {e["call"] for part in segments for e in part if e["event"] not in opening}
    return [sum(e["event"] == "sent" and e["call"] not in ended for e in part) for part in segments]


class Mix:
    """Faults at random, of every kind that passes."""

    def __init__(self, share: float, seed: int) -> None:
        self.share, self.draw, self.lock = share, random.Random(seed), threading.Lock()
        self.kinds = [fault for name, fault in PASSING.items() if name != "trickling"]

    def __call__(self, body: dict) -> Fault | None:
        with self.lock:
            if self.draw.random() < self.share:
                return self.draw.choice(self.kinds)
        return None


@pytest.mark.timeout(300)
def test_two_jobs_ten_kills_and_forty_percent_faults_change_nothing(tmp_path):
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    for folder in (calm, rough):
        folder.mkdir()
    concurrency = 16
    with serve(FakeModel(reply=rate)) as url:
        judge.main(options(calm, url))
    model = FakeModel(reply=rate, answer=Mix(0.4, seed=5), delay=0.02)
    settings = {"concurrency": concurrency, "retries": 30, "timeout": 60}
    draw = random.Random(7)
    with serve(model) as url:
        jobs = {name: options(rough, url, name, **settings) for name in ("m", "twin")}
        same_answers(rough, "twin")
        running = {name: start(words) for name, words in jobs.items()}
        for _ in range(10):
            before = len(model.requests)
            until(lambda before=before: len(model.requests) >= before + 12)
            name = draw.choice(list(running))
            os.kill(running[name], signal.SIGKILL)
            assert finish(running[name]) == -signal.SIGKILL
            running[name] = start(jobs[name])
        assert [finish(child) for child in running.values()] == [0, 0]
    first = judgments(calm).read_bytes()
    assert judgments(rough).read_bytes() == first
    assert judgments(rough, "twin").read_bytes() == first.replace(b'"m"', b'"twin"')
    assert len(set(model.keys)) == 160 == len(model.answered)
    # A reply is repeated only if a kill took it, and each process had few calls out.
    taken = unfinished(rough / "store")
    assert max(taken) <= concurrency
    assert sum(model.answered.values()) - 160 <= sum(taken)


def test_two_jobs_at_once_pay_once_and_replay_the_same(tmp_path, monkeypatch):
    model = FakeModel(reply=lambda messages: f"[[{random.randint(1, 10)}]]", delay=0.03)
    with serve(model) as url:
        jobs = {name: options(tmp_path, url, name) for name in ("m", "twin", "third")}
        for name in ("twin", "third"):
            same_answers(tmp_path, name)
        assert [finish(child) for child in [start(words) for words in jobs.values()]] == [0] * 3
    assert len(model.requests) == 160
    written = {name: judgments(tmp_path, name).read_bytes() for name in jobs}
    scores = {name: [r["score"] for r in read_jsonl(judgments(tmp_path, name))] for name in jobs}
    assert scores["m"] == scores["twin"] == scores["third"]
    monkeypatch.delenv("OPENAI_API_KEY")
    for words in jobs.values():
        judge.main([w.replace("127.0.0.1", "nowhere.invalid") for w in words])
    assert {name: judgments(tmp_path, name).read_bytes() for name in jobs} == written


@pytest.mark.parametrize("change", ["renamed", "joined", "doubled"])
def test_a_store_replays_however_its_files_are_named(tmp_path, monkeypatch, change):
    """Two machines have judged a model each; their stores are brought together."""
    draw = random.Random(3)
    model = FakeModel(reply=lambda messages: f"Rating: [[{draw.randint(1, 10)}]]")
    written, folders = {}, [tmp_path / "one", tmp_path / "two"]
    with serve(model) as url:
        for folder, name in zip(folders, ("a", "b"), strict=True):
            folder.mkdir()
            judge.main(options(folder, url, name, count=16))
            written[name] = judgments(folder, name).read_bytes()
    merged = tmp_path / "merged"
    (merged / "store").mkdir(parents=True)
    segments = [path for folder in folders for path in (folder / "store").glob("*.jsonl")]
    if change == "joined":
        joined = b"".join(path.read_bytes() for path in reversed(segments))
        (merged / "store" / "all.jsonl").write_bytes(joined)
    else:
        for number, path in enumerate(reversed(segments)):
            shutil.copy(path, merged / "store" / f"calls-{number}.jsonl")
            if change == "doubled":
                shutil.copy(path, merged / "store" / f"calls-{number} (copy).jsonl")
    monkeypatch.delenv("OPENAI_API_KEY")
    for name in ("b", "a"):
        judge.main(options(merged, "http://nowhere.invalid/v1", name, count=16))
        assert judgments(merged, name).read_bytes() == written[name]
    account = ResponseStore(merged / "store").account()
    assert (account.calls, account.lost) == (64, 0)


class Priced(FakeModel):
    """Counts what its replies cost: 5 cents or less each, at 10 and 40 dollars a million tokens."""

    def __init__(self, usage: bool = True) -> None:
        super().__init__(answer=self.price, delay=0.01)
        self.spent = 0.0

    def price(self, body: dict) -> Fault:
        size = digest(body["messages"])
        prompt, output = 500 + 4 * size, 100 + 2 * size
        with self.lock:
            self.spent += (10 * prompt + 40 * output) / 1e6
        usage = {"prompt_tokens": prompt, "completion_tokens": output}
        return said(completion() | {"usage": usage})


PRICES = {"input_price": 10, "output_price": 40, "budget_usd": 2, "concurrency": 8}


@pytest.mark.parametrize("reasoning", [False, True])
def test_a_budget_with_eight_in_flight_is_spent_to_its_end(tmp_path, reasoning):
    model = Priced()
    more = {"reasoning": True} if reasoning else {}
    with serve(model) as url, pytest.raises(UserError, match=r"budget of \$2.00 is spent.*stored"):
        judge.main(options(tmp_path, url, **PRICES, **more))
    assert 1.90 <= model.spent <= 2.00
    assert ResponseStore(tmp_path / "store").account().usd == pytest.approx(model.spent)


@pytest.mark.timeout(300)
def test_three_jobs_share_a_budget(tmp_path):
    model = Priced()
    with serve(model) as url:
        jobs = [options(tmp_path, url, name, **PRICES) for name in ("a", "b", "c")]
        assert [finish(child) for child in [start(words) for words in jobs]] == [1, 1, 1]
    assert 1.90 <= model.spent <= 2.00
    assert "budget of $2.00 is spent" in (tmp_path / "a.error").read_text()


def test_a_call_that_may_cost_more_than_all_is_not_made(tmp_path):
    model = Priced()
    prices = PRICES | {"budget_usd": 0.05}
    with serve(model) as url, pytest.raises(UserError, match=r"may cost \$0.08.*budget of \$0.05"):
        judge.main(options(tmp_path, url, **prices))
    assert not model.requests


def test_thoughts_are_paid_for_even_where_the_completion_leaves_them_out(tmp_path):
    details = {"completion_tokens_details": {"reasoning_tokens": 900}}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 1010} | details
    model = FakeModel(answer=lambda body: said(completion() | {"usage": usage}))
    with serve(model) as url:
        judge.main(options(tmp_path, url, count=8, output_price=10))
    assert ResponseStore(tmp_path / "store").account().usd == pytest.approx(16 * 910 * 10 / 1e6)


@pytest.mark.parametrize("text", ["31415926535" * 30, "机器学习是人工智能的分支" * 20])
def test_tokens_are_counted_by_their_script_where_the_server_does_not(tmp_path, text):
    reply = completion(f"{text} Rating: [[7]]") | {"usage": None}
    with serve(FakeModel(answer=lambda body: said(reply))) as url:
        judge.main(options(tmp_path, url, count=8, output_price=10))
    segment = next((tmp_path / "store").glob("*.jsonl"))
    kept = [e for e in read_jsonl(segment) if e["event"] == "response"]
    assert {e["estimated"] for e in kept} == {True}
    assert all(len(text) <= e["completion_tokens"] <= 2 * len(text) + 10 for e in kept)
    assert all(e["usd"] == pytest.approx(e["completion_tokens"] * 10 / 1e6) for e in kept)


def test_a_tokenizer_counts_exactly(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"w": 0}, unk_token="w"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save(str(tmp_path / "tokenizer.json"))
    reply = completion("one two three [[7]]") | {"usage": None}
    with serve(FakeModel(answer=lambda body: said(reply))) as url:
        judge.main(options(tmp_path, url, count=8, tokenizer=tmp_path))
    segment = next((tmp_path / "store").glob("*.jsonl"))
    kept = [e for e in read_jsonl(segment) if e["event"] == "response"]
    assert {(e["completion_tokens"], e["estimated"]) for e in kept} == {(4, True)}


def test_another_machines_claim_holds_while_its_file_changes(tmp_path, monkeypatch):
    from fusionchat.mt_bench.endpoint import owners

    model = FakeModel()
    with serve(model) as url:
        words = options(tmp_path, url, count=8, concurrency=1)
        judge.main(words)
        segment = next((tmp_path / "store").glob("*.jsonl"))
        events = read_jsonl(segment)
        events[0]["owner"]["machine"] = "elsewhere"
        last = max(i for i, e in enumerate(events) if e["event"] == "sent")
        jsonl(segment, events[: last + 1])
        monkeypatch.setattr(owners, "PATIENCE", 0.5)
        waited = []

        def touch() -> None:
            for _ in range(12):
                os.utime(segment)
                time.sleep(0.1)
            waited.append(len(model.requests))

        thread = threading.Thread(target=touch)
        thread.start()
        judge.main([*words, option("retries", 1)])
        thread.join()
    assert waited == [16]
    assert len(model.requests) == 17
