"""What a judge's server may do to one prompt, wherever in the run, and what must come of it."""

import json
from collections import Counter

import pytest
from judge_runs import KEY, asks_about, judgments, options, run
from mt_bench_server import (
    JSON,
    PACKED,
    STREAM,
    FakeModel,
    Fault,
    completion,
    said,
    serve,
    streamed,
)

import judge
from fusionchat.errors import UserError
from fusionchat.files import read_jsonl
from fusionchat.mt_bench.endpoint.problems import retry_after
from fusionchat.mt_bench.judging.ratings import parse_rating
from fusionchat.mt_bench.thoughts import split_thoughts

# (question, turn): the first judgment of a run, one inside, the last one.
POSITIONS = {"first": (0, 1), "inside": (4, 2), "last": (7, 2)}
NOW = "Wed, 21 Oct 2015 07:28:00 GMT"
LIMIT = "This model's maximum context length is 8192 tokens. Please reduce the length."


# Once, and the same request works afterwards: nothing is missing.
PASSING = {
    "429 with seconds": said({"error": {"message": "slow"}}, 429, **{"retry-after": "0.02"}),
    "429 with milliseconds": said({"error": {}}, 429, **{"retry-after-ms": "15"}),
    "500 in HTML": Fault(500, b"<html><h1>Internal Server Error</h1></html>"),
    "429 with a wait below zero": said({"error": {}}, 429, **{"retry-after": "-30"}),
    "429 with a date gone by": said(
        {"error": {}}, 429, **{"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}
    ),
    "503 without words": Fault(503),
    "529 overloaded": said({"type": "error", "error": {"type": "overloaded_error"}}, 529),
    "error of another status in a 200": said({"error": {"code": 502, "message": "upstream"}}),
    "rate limit in a 200": said({"error": {"type": "rate_limit_error", "message": "rate limit"}}),
    "error inside the choice": said(completion(None, choice={"error": {"code": 503}})),
    "half a body": Fault(200, json.dumps(completion()).encode(), JSON, "half"),
    "no byte": Fault(way="drop"),
    "not JSON": Fault(200, b"data: {", JSON),
    "a number of 5,000 digits": Fault(200, b'{"usage": ' + b"9" * 5000 + b"}", JSON),
    "JSON too deep": Fault(200, b"[" * 100_000, JSON),
    "a list": said([completion()]),
    "choices null": said(completion() | {"choices": None}),
    "choices empty": said(completion() | {"choices": []}),
    "a page, 200": Fault(200, b"<html><h1>Maintenance</h1></html>", {"content-type": "text/html"}),
    "nothing, 200": Fault(200, b"", JSON),
    "no content, 204": Fault(204),
    "packed, but not": Fault(200, json.dumps(completion()).encode(), JSON | PACKED),
    "a stream without its end": Fault(200, streamed("Fine. Rating: [[2]] no,", end=""), STREAM),
    "a stream that ends in an error": Fault(
        200, streamed("[[2]]", end="") + b'data: {"error": {"code": 503}}\n\n', STREAM
    ),
    "trickling": Fault(200, json.dumps(completion()).encode(), JSON, "trickle"),
}
# Whenever this prompt is shown: its score is missing for this reason, and all others are there.
LASTING = {
    "filter, 400": (
        said({"error": {"code": "content_filter", "message": "content management policy"}}, 400),
        "blocked",
    ),
    "moderation, 403": (said({"error": {"message": "your input was flagged"}}, 403), "blocked"),
    "firewall, 403 in HTML": (Fault(403, b"<html>Request blocked</html>"), "blocked"),
    "too long, 400": (said({"object": "error", "message": LIMIT}, 400), "too long"),
    "too long, 413 in HTML": (Fault(413, b"<h1>Request Entity Too Large</h1>"), "status 413"),
    "too long, 422": (said({"error": "inputs tokens exceed", "detail": LIMIT}, 422), "too long"),
    "too long, a list": (said([{"error": {"message": "prompt is too long"}}], 400), "too long"),
    "too long for the minute, 429": (
        said({"error": {"message": "Request too large for gpt-4 on tokens per min"}}, 429),
        "too long",
    ),
    "too long, 200": (said({"error": {"message": LIMIT, "code": 400}}), "too long"),
    "blocked, 200 without choices": (
        said({"choices": [], "promptFeedback": {"blockReason": "SAFETY"}}),
        "blocked",
    ),
    "filtered, 200": (said(completion("", choice={"finish_reason": "content_filter"})), "blocked"),
    "refusal": (said(completion(None, message={"refusal": "I will not."})), "refused"),
    "blocked, 200 in a field of its own": (
        said({"choices": None, "base_resp": {"status_code": 1026, "status_msg": "new_sensitive"}}),
        "blocked",
    ),
    "too long, 200 in a field of its own": (
        said({"error_code": 336007, "error_msg": "the max input length: prompt too long"}),
        "too long",
    ),
    "ended by a refusal": (said(completion("", choice={"finish_reason": "refusal"})), "blocked"),
    "a page for ever": (Fault(200, b"<title>Sign in</title>"), "malformed reply"),
    "500 for ever": (said({"error": {"message": "worker crashed"}}, 500), "status 500"),
    "choices null for ever": (said({"choices": None}), "no choices"),
    "cut off": (said(completion("I see a[3]", choice={"finish_reason": "length"})), "cut off"),
    "cut off in thoughts": (
        said(completion("<think>[[2]] or", choice={"finish_reason": "length"})),
        "cut off",
    ),
    "cut off without a word": (
        said(
            completion("I see a[3]", choice={"finish_reason": None})
            | {"usage": {"prompt_tokens": 100, "completion_tokens": 2048}}
        ),
        "cut off",
    ),
    "a rating in the thoughts alone": (said(completion("<think>[[9]]</think>")), "no rating"),
    "channels without an answer": (
        said(completion("<|channel|>analysis<|message|>[[9]]<|end|>")),
        "no rating",
    ),
    "without a rating": (said(completion("It is good.")), "no rating"),
    "a rating of 5,000 digits": (said(completion(f"[[{'9' * 5000}]]")), "no rating"),
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def scores(records: list[dict]) -> dict[tuple[int, int], float]:
    return {(r["question_id"] - 81, r["turn"]): r["score"] for r in records}


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("name", PASSING)
def test_what_passes_leaves_no_trace(tmp_path, name, position):
    place, told = POSITIONS[position], []

    def answer(body: dict) -> Fault | None:
        if told or not asks_about(body, *place):
            return None
        told.append(body)
        return PASSING[name]

    timeout = 0.8 if name == "trickling" else 20
    with serve(FakeModel(answer=answer)) as url:
        records = run(tmp_path, url, timeout=timeout, concurrency=4)
    assert set(scores(records).values()) == {7}
    assert len(records) == 16
    assert len(told) == 1


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("name", LASTING)
def test_one_prompt_is_one_prompt(tmp_path, name, position, monkeypatch):
    place, (fault, kind) = POSITIONS[position], LASTING[name]
    model = FakeModel(answer=lambda body: fault if asks_about(body, *place) else None)
    with serve(model) as url:
        records = run(tmp_path, url, concurrency=1, retries=2, attempts=2)
        first = judgments(tmp_path).read_bytes()
    rated = scores(records)
    assert {key for key, score in rated.items() if score == -1} == {place}
    assert Counter(rated.values()) == {7: 15, -1: 1}
    missing = next(r for r in records if r["score"] == -1)
    assert missing["missing"] == kind
    assert missing["refused"]
    # Without key or network, the same bytes come out of the store.
    monkeypatch.delenv("OPENAI_API_KEY")
    judge.main(options(tmp_path, "http://nowhere.invalid/v1", count=8, retries=2, attempts=2))
    assert judgments(tmp_path).read_bytes() == first


@pytest.mark.parametrize(
    ("fault", "said_to_user"),
    [
        (said({"error": {"message": "invalid key"}}, 401), "status 401: invalid key"),
        (said({"error": {"message": "no credit"}}, 402), "status 402: no credit"),
        (said({"error": {"message": "no such model"}}, 404), "status 404: no such model"),
        (Fault(302, headers={"location": "http://localhost:9/"}), "status 302"),
        (Fault(307, headers={"location": "http://127.0.0.1:9/"}), "status 307"),
        (said({"error": {"code": "insufficient_quota", "message": "quota"}}, 429), "quota"),
    ],
)
def test_what_concerns_the_account_stops_at_once(tmp_path, fault, said_to_user):
    model = FakeModel(answer=lambda body: fault)
    with serve(model) as url, pytest.raises(UserError, match=said_to_user):
        run(tmp_path, url, concurrency=1)
    assert len(model.requests) == 1
    assert not judgments(tmp_path).exists()


@pytest.mark.parametrize("name", ["filter, 400", "cut off", "without a rating", "500 for ever"])
def test_a_systematic_failure_stops_with_its_reason(tmp_path, name):
    fault, kind = LASTING[name]
    model = FakeModel(answer=lambda body: fault)
    with serve(model) as url, pytest.raises(UserError, match=rf"requests have no.*: {kind}: \w"):
        run(tmp_path, url, count=80, concurrency=2, retries=1, attempts=1)
    assert len(model.requests) <= 2 * 22
    assert not judgments(tmp_path).exists()


def test_more_than_half_missing_is_no_table(tmp_path):
    fault, _ = LASTING["moderation, 403"]
    model = FakeModel(
        answer=lambda body: fault if any(asks_about(body, q, 1) for q in range(8)) else None
    )
    with serve(model) as url:
        assert Counter(scores(run(tmp_path, url)).values()) == {7: 8, -1: 8}
    model.answer = lambda body: None if asks_about(body, 3, 1) else fault
    (tmp_path / "again").mkdir()
    with serve(model) as url, pytest.raises(UserError, match="your input was flagged"):
        run(tmp_path / "again", url)


@pytest.mark.parametrize(
    "words",
    [
        "System role not supported",
        "Unsupported value: 'messages[0].role' does not support 'system' with this model",
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "Developer instruction is not enabled for models/gemma-3-27b-it",
    ],
)
def test_a_model_without_system_role_gets_the_text_in_the_users_turn(tmp_path, words):
    def answer(body: dict) -> Fault | None:
        roles = {m["role"] for m in body["messages"]}
        return said({"error": {"message": words}}, 400) if "system" in roles else None

    model = FakeModel(answer=answer)
    with serve(model) as url:
        records = run(tmp_path, url, concurrency=1)
    assert set(scores(records).values()) == {7}
    assert len(model.requests) == 17
    assert {r["system_role"] for r in records} == {"user"}
    assert model.requests[-1]["messages"][0]["content"].startswith("Judge (single")


def test_a_place_for_the_system_text_can_be_chosen(tmp_path):
    model = FakeModel()
    with serve(model) as url:
        run(tmp_path, url, system_role="developer")
    assert {m["role"] for body in model.requests for m in body["messages"]} == {
        "developer",
        "user",
    }


def test_what_was_refused_can_be_asked_again(tmp_path):
    fault, _ = LASTING["too long, 400"]
    model = FakeModel(answer=lambda body: fault if asks_about(body, 2, 1) else None)
    with serve(model) as url:
        run(tmp_path, url)
        model.answer = lambda body: None
        assert -1 in scores(run(tmp_path, url)).values()
        records = run(tmp_path, url, retry_refused=True)
        assert set(scores(records).values()) == {7}
        assert set(scores(run(tmp_path, url)).values()) == {7}
    assert len(model.requests) == 17


def test_the_last_rating_counts_where_the_judge_reasons_in_its_text(tmp_path):
    reply = "At first [[3]], but all in all: Rating: [[8]]"
    with serve(FakeModel(reply=lambda messages: reply)) as url:
        first = run(tmp_path, url)
        last = run(tmp_path, url, rating="last")
    assert {(r["score"], r["rating_rule"]) for r in first} == {(3, "first")}
    assert {(r["score"], r["rating_rule"]) for r in last} == {(8, "last")}


def test_thoughts_end_and_raw_reply_are_kept(tmp_path):
    reply = completion("<think>[[2]]</think>Rating: [[7]]", message={"reasoning": "Hm."})
    with serve(FakeModel(answer=lambda body: said(reply))) as url:
        records = run(tmp_path, url)
    assert {(r["judgment"], r["thoughts"], r["finish_reason"]) for r in records} == {
        ("Rating: [[7]]", "Hm.\n\n[[2]]", "stop")
    }
    segment = next((tmp_path / "store").glob("*.jsonl"))
    kept = [e["raw"] for e in read_jsonl(segment) if e["event"] == "response"]
    assert kept == [reply] * 16


def test_surrogates_and_nul_in_answers_are_harmless(tmp_path):
    model = FakeModel()
    with serve(model) as url:
        words = options(tmp_path, url, count=8)
        path = tmp_path / "m.jsonl"
        path.write_text(path.read_text().replace("says", "\\ud83d\\u0000"))
        judge.main(words)
    records = read_jsonl(judgments(tmp_path))
    assert set(scores(records).values()) == {7}
    assert "?\x00" in records[0]["user_prompt"]


THOUGHTS = [
    "<reasoning>{0}</reasoning>{1}",
    "<thought>{0}</thought><Output>{1}</Output>",
    "<thinking duration='3'>{0}</thinking>{1}",
    "<think>{0}<think>{0}</think>{0}</think>{1}",
    "<think>{0}</think><reflection>{0}</reflection>{1}",
    "[THINK]{0}[/THINK]{1}",
    "[REASONING]{0}[/REASONING]{1}",
    "<analysis>{0}</analysis>\n{1}",
    "<scratchpad>{0}</scratchpad>\n{1}",
    "<internal_monologue>{0}</internal_monologue>\n{1}",
    "<|inner_prefix|>{0}<|inner_suffix|>{1}",
    "<|begin_of_thought|>{0}<|end_of_thought|><|begin_of_solution|>{1}<|end_of_solution|>",
    "<|START_THINKING|>{0}<|END_THINKING|><|START_RESPONSE|>{1}<|END_RESPONSE|>",
    '<details type="reasoning" done="true"><summary>Thought</summary>{0}</details>{1}',
    "Thinking...\n{0}\n...done thinking.\n\n{1}",
    "Here is my thought process: {0} Here is my response: {1}",
    "```thinking\n{0}\n```\n{1}",
    "analysis{0}assistantfinal{1}",
]


@pytest.mark.parametrize("form", THOUGHTS)
def test_thoughts_are_told_apart_however_they_are_marked(form):
    thoughts, answer = split_thoughts(form.format("maybe [[2]]", "Rating: [[7]]"))
    assert parse_rating(answer, "first") == parse_rating(answer, "last") == 7
    assert "maybe [[2]]" in thoughts
    assert "Rating" not in thoughts


@pytest.mark.parametrize(
    "text",
    [
        "A tag such as `<think>` marks thoughts, and '</think>' ends them.",
        "<analysis>The whole answer is one element.</analysis>",
        "As asked: <analysis>a</analysis> <summary>b</summary>",
        "Analysis of the final result: it is good.",
    ],
)
def test_an_answer_that_only_looks_like_thoughts_stays_whole(text):
    assert split_thoughts(text) == ("", text)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "1.5", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:09 GMT", "date": NOW}, 9),
        ({"retry-after": "Wed, 21 Oct 2015 07:27:00 GMT", "date": NOW}, 0),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "nan"}, 0),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": "1e9"}, 300),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT", "date": NOW}, 300),
        ({}, 0),
    ],
)
def test_what_a_server_asks_to_wait(headers, seconds):
    assert retry_after(headers) == seconds
