"""An LLM judge over real HTTP: faults, kills, budgets, secrets."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from judge_runs import KEY, options
from mt_bench_files import answers, jsonl, questions
from mt_bench_server import FAULTS, FakeModel, serve

import judge
from fusionchat.errors import UserError
from fusionchat.files import read_jsonl
from fusionchat.mt_bench.endpoint.endpoint import Endpoint, RequestRefusedError
from fusionchat.mt_bench.endpoint.settings import EndpointOptions
from fusionchat.mt_bench.endpoint.store import ResponseStore

SLOW_TIMEOUT = 1.0


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_two_models_complete_under_twenty_percent_faults(tmp_path):
    draw = random.Random(1)
    faults = Counter()

    def fault(number: int, key: str) -> str:
        name = draw.choice(FAULTS) if draw.random() < 0.2 else ""
        faults[name] += 1
        return name

    model = FakeModel(fault=fault)
    with serve(model) as url:
        for name in ("m1", "m2"):
            judge.main(options(tmp_path, url, name, concurrency=16, timeout=SLOW_TIMEOUT))
    assert set(FAULTS) <= set(faults)
    for name in ("m1", "m2"):
        records = read_jsonl(tmp_path / "judgments" / f"{name}.jsonl")
        assert Counter((r["question_id"], r["turn"]) for r in records) == Counter(
            (q, t) for q in range(81, 161) for t in (1, 2)
        )
        assert all(r["score"] == 7 and r["model"] == name for r in records)
    account = ResponseStore(tmp_path / "store").account()
    expected = sum(faults[f] for f in ("drop", "half", "malformed", "no_choices", "slow"))
    # On a busy machine a good reply may come too late as well: it counts as lost, too.
    late = account.lost - expected
    assert 0 <= late < 32
    assert len(model.answered) == 320
    assert sum(model.answered.values()) <= 320 + late
    assert 0 <= account.calls - len(model.requests) <= late


def test_a_second_run_is_replayed_for_free_and_equal(tmp_path, monkeypatch):
    model = FakeModel()
    with serve(model) as url:
        arguments = options(tmp_path, url, count=8)
        judge.main(arguments)
    first = (tmp_path / "judgments" / "m.jsonl").read_bytes()
    asked = len(model.requests)
    monkeypatch.delenv("OPENAI_API_KEY")
    judge.main([a.replace("127.0.0.1", "nowhere.invalid") for a in arguments])
    assert (tmp_path / "judgments" / "m.jsonl").read_bytes() == first
    assert asked == 16 == len(model.requests)


def test_after_a_kill_at_most_the_requests_in_flight_are_paid_again(tmp_path):
    model = FakeModel(delay=0.05)
    concurrency = 6
    with serve(model) as url:
        arguments = options(tmp_path, url, concurrency=concurrency)
        command = [sys.executable, judge.__file__, *arguments]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(model.requests) < 70 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = len(model.requests)
        assert before < 160
        assert not (tmp_path / "judgments" / "m.jsonl").exists()
        lost = ResponseStore(tmp_path / "store").account().lost
        subprocess.run(command, check=True, capture_output=True)
    asked = Counter(model.keys)
    assert len(asked) == 160
    assert sum(count - 1 for count in asked.values()) <= lost <= concurrency
    assert len(read_jsonl(tmp_path / "judgments" / "m.jsonl")) == 160


def test_an_unusable_rating_is_asked_again_then_missing(tmp_path):
    def reply(messages: list) -> str:
        text = messages[-1]["content"]
        return "no number" if "Question 3:" in text else "Rating: [[4]]"

    model = FakeModel(reply=reply)
    with serve(model) as url:
        judge.main(options(tmp_path, url, count=8, attempts=2))
    records = read_jsonl(tmp_path / "judgments" / "m.jsonl")
    scores = {(r["question_id"], r["turn"]): r["score"] for r in records}
    assert {key for key, score in scores.items() if score == -1} == {(84, 1), (84, 2)}
    missing = next(r for r in records if r["score"] == -1)
    assert missing["judgment"] == "no number"
    assert missing["attempts"] == 2
    temperatures = [r["temperature"] for r in model.requests if "Question 3:" in str(r)]
    assert sorted(temperatures) == [0.0, 0.0, 0.3, 0.3]


def test_repeats_are_asked_separately(tmp_path):
    model = FakeModel()
    with serve(model) as url:
        judge.main(options(tmp_path, url, count=8, repeats=3))
    records = read_jsonl(tmp_path / "judgments" / "m.jsonl")
    assert len(model.requests) == len(records) == 48
    assert Counter(r["repeat"] for r in records) == {0: 16, 1: 16, 2: 16}


def test_no_pause_follows_the_last_failure(tmp_path):
    model = FakeModel(fault=lambda number, key: "500")
    waits = []
    with serve(model) as url:
        options = EndpointOptions(url, "m", retries=2, first_wait=0.01)
        endpoint = Endpoint(options, ResponseStore(tmp_path))
        wait = endpoint.stop.wait
        endpoint.stop.wait = lambda seconds: waits.append(seconds) or wait(seconds)
        with pytest.raises(RequestRefusedError, match="fault 500"):
            endpoint.complete([{"role": "user", "content": "x"}], temperature=0, max_tokens=5)
        endpoint.close()
    assert len(model.requests) == 3
    assert len([seconds for seconds in waits if seconds]) == 2


def test_a_placeholder_for_a_key_is_not_taken_out_of_texts(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")
    with serve(FakeModel(reply=lambda messages: "An EMPTY answer. Rating: [[2]]")) as url:
        judge.main(options(tmp_path, url, count=8))
    records = read_jsonl(tmp_path / "judgments" / "m.jsonl")
    assert {r["judgment"] for r in records} == {"An EMPTY answer. Rating: [[2]]"}


def test_a_server_on_this_machine_is_reached_past_the_sites_proxy(tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serve(FakeModel()) as url:
        judge.main(options(tmp_path, url, count=8, retries=0))
    assert len(read_jsonl(tmp_path / "judgments" / "m.jsonl")) == 16


def test_a_reasoning_model_gets_room_to_think_and_no_temperature(tmp_path):
    model = FakeModel()
    with serve(model) as url:
        judge.main([*options(tmp_path, url, count=8), "--reasoning"])
    assert {"temperature", "max_tokens"}.isdisjoint(model.requests[0])
    assert model.requests[0]["max_completion_tokens"] > 10_000


def test_a_wrong_key_stops_at_once_and_is_not_shown(tmp_path):
    model = FakeModel(fault=lambda number, key: "status 401")
    with serve(model) as url, pytest.raises(UserError, match="status 401") as raised:
        judge.main(options(tmp_path, url, count=8, concurrency=1))
    assert len(model.requests) == 1
    assert KEY not in str(raised.value)


def test_the_key_is_in_no_file_log_or_process_list(tmp_path):
    model = FakeModel(
        reply=lambda messages: f"I know {KEY}. Rating: [[5]]",
        fault=lambda number, key: "status 500" if number % 3 == 0 else "",
        delay=0.02,
    )
    with serve(model) as url:
        command = [sys.executable, judge.__file__, *options(tmp_path, url, count=16)]
        environment = {**os.environ, "OPENAI_LOG": "debug"}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        while not model.requests and process.poll() is None:
            time.sleep(0.01)
        listed = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert KEY.encode() not in listed + output
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(written) > 4
    assert all(KEY.encode() not in p.read_bytes() for p in written)
    assert "[key]" in (tmp_path / "judgments" / "m.jsonl").read_text()


def test_hashes_of_references_and_prompts_are_in_every_judgment(tmp_path):
    with serve(FakeModel()) as url:
        judge.main(options(tmp_path, url, count=8))
    records = read_jsonl(tmp_path / "judgments" / "m.jsonl")
    assert {len(r["references_sha256"]) for r in records} == {64}
    assert {len(r["prompts_sha256"]) for r in records} == {64}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--base-url=http://user:pw@127.0.0.1/v1", "must hold no password"),
        ("--base-url=ftp://x", "must be http"),
        ("--budget-usd=1", "needs --input-price"),
        ("--judge-model=", "--judge-model: is needed"),
    ],
)
def test_mistakes_are_explained(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        judge.main([*options(tmp_path, "http://127.0.0.1:9/v1", count=8), change])


def test_a_missing_reference_is_an_error(tmp_path):
    arguments = options(tmp_path, "http://127.0.0.1:9/v1", count=8)
    lines = (tmp_path / "references.jsonl").read_text().splitlines()
    (tmp_path / "references.jsonl").write_text(lines[0] + "\n")
    with pytest.raises(UserError, match="has no reference"):
        judge.main(arguments)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("references", {"choices": "none"}, "line 2: choices is not a list of objects"),
        ("references", {"choices": [["a"]]}, "line 2: choices is not a list of objects"),
        ("references", {"choices": [{"turns": [1, 2]}]}, "line 2: a reference answer is not"),
        ("references", {"choices": [{"turns": "ab"}]}, "line 2: a reference answer is not"),
        ("references", {"question_id": None}, "line 2: question_id is None, not a whole number"),
        ("references", {"question_id": 83}, "line 2: question 83 has a reference already"),
        ("judge_prompts", {"prompt_template": None}, "line 2: .* prompt_template is no text"),
        ("judge_prompts", {"system_prompt": ["a"]}, "line 2: .* system_prompt is no text"),
        ("judge_prompts", {"name": 1}, "line 2: not a judge prompt: name is no text"),
        ("judge_prompts", {"name": "x"}, "judge prompts single-math-v1 are missing"),
    ],
)
def test_what_the_judge_is_shown_is_read_strictly(tmp_path, file, change, message):
    arguments = options(tmp_path, "http://127.0.0.1:9/v1", count=8)
    path = tmp_path / f"{file}.jsonl"
    records = read_jsonl(path)
    jsonl(path, [records[0], records[1] | change, *records[2:]])
    with pytest.raises(UserError, match=rf"{file}\.jsonl.*{message}"):
        judge.main(arguments)


def test_questions_may_hold_their_own_references(tmp_path):
    model = FakeModel()
    with serve(model) as url:
        arguments = options(tmp_path, url, count=8)
        arguments = [a for a in arguments if not a.startswith("--references")]
        own = [q | {"reference": ["mine", "yours"]} for q in questions(8)]
        jsonl(tmp_path / "question.jsonl", own)
        judge.main(arguments)
    shown = [r["user_prompt"] for r in read_jsonl(tmp_path / "judgments" / "m.jsonl")]
    assert sum(text.startswith("R: mine") for text in shown) == 3
    assert sum(text.startswith("R1: mine\nR2: yours") for text in shown) == 3


def test_an_answer_too_long_for_the_judge_is_missing_not_dropped(tmp_path):
    class Short(FakeModel):
        def accept(self, body: dict) -> tuple[str, str]:
            key, _ = super().accept(body)
            too_long = "status 400 maximum context length exceeded"
            return key, too_long if "Question 5:" in str(body) else ""

    with serve(Short()) as url:
        judge.main(options(tmp_path, url, count=8))
    records = read_jsonl(tmp_path / "judgments" / "m.jsonl")
    missing = [r for r in records if r["score"] == -1]
    assert [(r["question_id"], r["turn"]) for r in missing] == [(86, 1), (86, 2)]
    assert "context length" in missing[0]["refused"]
    assert KEY not in missing[0]["refused"]
    assert len(records) == 16


def test_an_answer_that_a_filter_refuses_is_missing_not_dropped(tmp_path):
    def fault(number: int, key: str) -> str:
        return "status 400 content_filter: the prompt was blocked" if number == 3 else ""

    with serve(FakeModel(fault=fault)) as url:
        judge.main(options(tmp_path, url, count=8, concurrency=1))
    records = read_jsonl(tmp_path / "judgments" / "m.jsonl")
    assert [r["score"] for r in records].count(-1) == 1
    assert len(records) == 16


def test_another_bad_request_stops_the_run(tmp_path):
    model = FakeModel(fault=lambda number, key: "status 400 unknown parameter")
    with serve(model) as url, pytest.raises(UserError, match=r"status 400.*unknown parameter"):
        judge.main(options(tmp_path, url, count=8))


def test_answers_of_another_format_are_explained(tmp_path):
    arguments = options(tmp_path, "http://127.0.0.1:9/v1", count=8)
    jsonl(tmp_path / "m.jsonl", [{"question_id": 81, "text": "x"}])
    with pytest.raises(UserError, match="not answer records"):
        judge.main(arguments)


@pytest.mark.parametrize(
    "choices",
    [
        [],
        None,
        ["text"],
        [{"index": 0}],
        [{"turns": ["a", "b"]}],
        [{"index": 0, "turns": ["a", None]}],
        [{"index": True, "turns": ["a", "b"]}],
        [{"index": -1, "turns": ["a", "b"]}],
        [{"index": 0, "turns": ["a", "b"], "declined": "blocked"}],
    ],
)
def test_an_answer_without_its_turns_is_not_passed_over(tmp_path, choices):
    arguments = options(tmp_path, "http://127.0.0.1:9/v1", count=8)
    records = answers("m", 8)
    records[3]["choices"] = choices
    jsonl(tmp_path / "m.jsonl", records)
    with pytest.raises(UserError, match="question 84 lacks a turn"):
        judge.main(arguments)


def test_a_question_that_is_answered_twice_is_not_judged_at_random(tmp_path):
    arguments = options(tmp_path, "http://127.0.0.1:9/v1", count=8)
    jsonl(tmp_path / "m.jsonl", answers("m", 8) + answers("m", 2))
    with pytest.raises(UserError, match="line 9: question 81 is answered twice, first in line 1"):
        judge.main(arguments)


def test_lines_and_prompts_of_another_kind_are_explained(tmp_path):
    arguments = options(tmp_path, "http://127.0.0.1:9/v1", count=8)
    prompts = read_jsonl(tmp_path / "judge_prompts.jsonl")
    broken = [prompt | {"prompt_template": "{answer} {unknown}"} for prompt in prompts]
    jsonl(tmp_path / "judge_prompts.jsonl", broken)
    with pytest.raises(UserError, match=r"judge prompt single.*cannot be filled in.*unknown"):
        judge.main(arguments)
    (tmp_path / "m.jsonl").write_bytes(b"[1, 2]\n")
    with pytest.raises(UserError, match="line 1, is not a JSON object"):
        judge.main(arguments)
    (tmp_path / "m.jsonl").write_bytes(b'{"text": "\xff"}\n')
    with pytest.raises(UserError, match="line 1, is not text in UTF-8"):
        judge.main(arguments)


def test_half_a_surrogate_pair_in_a_reply_is_kept_as_text(tmp_path):
    with serve(FakeModel(reply=lambda messages: "\ud800 Rating: [[3]]")) as url:
        judge.main(options(tmp_path, url, count=8))
    assert {r["score"] for r in read_jsonl(tmp_path / "judgments" / "m.jsonl")} == {3}


def test_a_file_of_two_models_answers_is_refused(tmp_path):
    arguments = options(tmp_path, "http://127.0.0.1:9/v1", count=8)
    records = answers("m", 8)
    records[3]["model_id"] = "n"
    jsonl(tmp_path / "m.jsonl", records)
    with pytest.raises(UserError, match=r"line 4: model_id is 'n', but 'm' before; give each"):
        judge.main(arguments)
