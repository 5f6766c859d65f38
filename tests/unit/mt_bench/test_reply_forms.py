"""A judge's good reply in every form in which servers send it: its rating counts, paid once."""

import gzip
import json
import math

import pytest
from judge_runs import KEY, run
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

UTF_16 = {"content-type": "application/json; charset=utf-16"}
WHOLE = json.dumps(completion()).encode()
FORMS = {
    "content in parts": completion([{"type": "text", "text": "Rating: "}, {"text": "[[7]]"}]),
    "thoughts in a field": completion("[[7]]", message={"reasoning_content": "[[2]]?"}),
    "thoughts as a part": completion(
        [
            {"type": "thinking", "thinking": [{"type": "text", "text": "[[3]]"}]},
            {"type": "text", "text": "[[7]]"},
        ]
    ),
    "thoughts in marks": completion("<think>maybe [[2]]</think> Rating: [[7]]"),
    "thoughts without beginning": completion("maybe [[2]]</think>\nRating: [[7]]"),
    "channels": completion(
        "<|channel|>analysis<|message|>[[2]]<|end|><|start|>assistant<|channel|>final<|message|>[[7]]"
    ),
    "no usage": completion() | {"usage": None},
    "usage of another kind": completion() | {"usage": {"prompt_tokens": "many"}},
    "no end named": completion(choice={"finish_reason": None}),
    "usage as texts": completion() | {"usage": {"prompt_tokens": "100", "completion_tokens": "9"}},
    "usage below zero": completion() | {"usage": {"prompt_tokens": -1, "completion_tokens": 9}},
    "a call of a tool in between": completion(
        "<|channel|>analysis<|message|>[[2]]<|end|><|start|>assistant<|channel|>commentary "
        "to=functions.f <|constrain|>json<|message|>[3]<|call|><|start|>assistant<|channel|>final"
        "<|message|>[[7]]<|return|>"
    ),
    "a stream": Fault(200, streamed("Rating: [[7]]"), STREAM),
    "NUL and half a surrogate": completion("\x00\ud800 [[7]]"),
    "packed": Fault(200, gzip.compress(WHOLE), JSON | PACKED),
    "a byte order mark": Fault(200, b"\xef\xbb\xbf" + WHOLE, JSON),
    "another encoding": Fault(200, WHOLE.decode().encode("utf-16"), UTF_16),
    "kept alive by empty lines": Fault(200, b"\n\n  \n" + WHOLE, JSON),
    "kept alive by comments": Fault(200, b": PROCESSING\n\n: PROCESSING\n\n" + WHOLE, JSON),
    "in chunks": Fault(200, WHOLE, JSON, "chunked"),
    "behind early hints": Fault(200, WHOLE, JSON, "early"),
    "in HTTP/1.0": Fault(200, WHOLE, JSON, "old"),
    "an error without anything in it": completion() | {"error": {"code": None, "message": ""}},
    "a second choice": completion() | {"choices": [*completion()["choices"], {"error": "x"}]},
    "an end that is no text": completion(choice={"finish_reason": {"type": "stop"}}),
    "a number that is none": completion(choice={"logprobs": {"content": [{"x": math.nan}]}}),
    "thoughts hidden": completion(
        [{"type": "redacted_thinking", "data": "[[3]]"}, {"type": "text", "text": "[[7]]"}]
    ),
    "words of old": {"choices": [{"text": "Rating: [[7]]", "finish_reason": "stop"}]},
    "the same rating twice": completion("Rating: [[7]]. Rating: [[7]]"),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_reply_in_another_form_is_understood(tmp_path, name, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    form = FORMS[name]
    model = FakeModel(answer=lambda body: form if isinstance(form, Fault) else said(form))
    with serve(model) as url:
        records = run(tmp_path, url)
    assert {record["score"] for record in records} == {7}
    assert len(model.requests) == 16
