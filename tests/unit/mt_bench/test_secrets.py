"""No key in any file or stream, whatever is done with it."""

import base64
import json
import logging
import os
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from forks import finish
from judge_runs import KEY, options
from mt_bench_server import FakeModel, Fault, completion, said, serve

import judge
from fusionchat import cli
from fusionchat.mt_bench.endpoint.secrets import Redactor

HEADER_KEY = "Zx9+header/secret=="
ENCODED = base64.b64encode(KEY.encode()).decode()
# As in the header of a name and password, in a dump, and as JSON may write it.
BASIC = base64.b64encode(f"me:{KEY}".encode()).decode()
ESCAPED = HEADER_KEY.replace("/", "\\/")


def echo(kind: str) -> FakeModel:
    """A server that repeats the key in this place."""
    forms = f"{KEY} {KEY.upper()} {quote(HEADER_KEY, safe='')} {HEADER_KEY} {ENCODED} "
    forms += f"{BASIC} {KEY.encode().hex()} {ESCAPED}"
    faults = {
        "text": said(completion(f"{forms} [[7]]")),
        "thoughts": said(completion("[[7]]", message={"reasoning_content": forms})),
        "marked thoughts": said(completion(f"<think>{forms}</think>[[7]]")),
        "refusal": said(completion(None, message={"refusal": forms})),
        "model": said(completion() | {"model": forms}),
        "end": said(completion(choice={"finish_reason": forms})),
        "field": said(completion() | {forms: {forms: [forms]}}),
        "400": said({"error": {"message": forms, "code": forms}}, 400),
        "401": said({"error": {"message": f"Incorrect API key provided: {forms}"}}, 401),
        "at the end of a long 400": said({"error": {"message": "x" * 490 + KEY}}, 400),
        "at the end of a long error in 200": said({"error": {"message": "x" * 490 + KEY}}),
        "500": Fault(500, forms.encode(), {"content-type": "text/html"}),
        "error in 200": said({"error": {"message": forms}}),
        "redirection": Fault(307, headers={"location": f"http://127.0.0.1:9/?key={KEY}"}),
        "not JSON": Fault(200, f"{{{forms}".encode(), {"content-type": "application/json"}),
    }
    return FakeModel(answer=lambda body: faults.get(kind))


def streams(arguments: list[str], output: Path) -> int:
    """Run the program in a process of its own; both streams go to a file."""
    child = os.fork()
    if not child:
        code = 1
        try:
            sys.stdout = sys.stderr = output.open("w", buffering=1)
            logging.getLogger().handlers.clear()
            cli.run(judge.main, arguments)
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    return finish(child)


def assert_hidden(folder: Path, *secrets: str) -> None:
    forms = {f for s in secrets for f in (s, quote(s, safe=""), s.upper())}
    forms |= {KEY[:10], ENCODED, BASIC[6:-4], KEY.encode().hex(), ESCAPED}
    for path in folder.rglob("*"):
        held = path.read_bytes() if path.is_file() else b""
        assert not [form for form in forms if form.encode() in held], path


@pytest.mark.parametrize(
    "kind",
    ["text", "thoughts", "marked thoughts", "refusal", "model", "end", "field", "400", "401", "500",
     "at the end of a long 400", "at the end of a long error in 200", "error in 200", "redirection",
     "not JSON"],
)  # fmt: skip
def test_a_server_that_repeats_the_key_gets_it_into_no_file(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    monkeypatch.setenv("SECOND", HEADER_KEY)
    model = echo(kind)
    more = {"retries": 1, "attempts": 1, "headers": json.dumps({"api-key": "$SECOND"})}
    with serve(model) as url:
        streams(options(tmp_path, url, count=8, **more), tmp_path / "streams.txt")
    sent = {name.lower(): value for name, value in model.headers[0].items()}
    assert sent["authorization"] == f"Bearer {KEY}"
    assert sent["api-key"] == HEADER_KEY
    assert_hidden(tmp_path, KEY, HEADER_KEY)
    assert b"[key]" in b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()) or (
        kind in ("redirection", "not JSON")
    )


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("sk-first\nsk-second", "white space, a line break"),
        ("sk-two words", "white space, a line break"),
        ("sk-\x07bell-0123", "white space, a line break"),
        ('"sk-quoted-0123"', "a quotation mark"),
        ("'sk-quoted-0123'", "a quotation mark"),
        ("sk-schlüssel-0123", "a character that is not ASCII"),
        ("sk-dash\u20130123", "a character that is not ASCII"),
    ],
)
def test_a_key_that_cannot_be_sent_is_refused_by_the_name_of_its_variable(
    tmp_path, monkeypatch, key, wrong
):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    model = FakeModel()
    with serve(model) as url:
        assert streams(options(tmp_path, url, count=8), tmp_path / "streams.txt") == 1
    assert not model.requests
    told = (tmp_path / "streams.txt").read_text()
    assert told.startswith("error: environment variable OPENAI_API_KEY: the key holds " + wrong)
    assert told.count("\n") == 1
    assert_hidden(tmp_path, key, *key.split())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--base-url=http://me:{0}@127.0.0.1/v1", "must hold no password"),
        ("--base-url=ftp://me:{0}@127.0.0.1/v1", "must hold no password"),
        ("--base-url=http://127.0.0.1/v1?key={0}", "must hold no password"),
        ("--base-url=http://[{0}/v1", "must hold no password"),
        ('--headers={{"Authorization": "{0}"}}', "give a secret as $VARIABLE"),
        ('--headers={{"X-Api-Key": "{0}"}}', "give a secret as $VARIABLE"),
        ('--headers={{"api-key": "$NOT_SET"}}', "environment variable NOT_SET is not set"),
        ('--headers={{"bad name": "{0}"}}', "is not the name of a header"),
        ('--extra-body={{"api_key": "{0}"}}', "extra_body: api_key is named like a secret"),
        ('--extra-body={{"a": [{{"accessToken": "{0}"}}]}}', "accessToken is named like a secret"),
        ('--extra-body={{"messages": []}}', "messages cannot be set here"),
    ],
)
def test_secrets_in_addresses_and_headers_are_refused(tmp_path, monkeypatch, option, message):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    arguments = [*options(tmp_path, "http://127.0.0.1:9/v1", count=8), option.format(HEADER_KEY)]
    assert streams(arguments, tmp_path / "streams.txt") == 1
    told = (tmp_path / "streams.txt").read_text()
    assert message in told
    assert told.count("\n") == 1
    assert_hidden(tmp_path, KEY, HEADER_KEY)


def test_a_librarys_error_that_quotes_the_key_is_told_without_it(tmp_path, monkeypatch):
    import openai

    def quoting(*args: object, **settings: object) -> None:
        raise ValueError(f"illegal header value b'Bearer {KEY}'")

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(openai, "AsyncOpenAI", quoting)
    arguments = options(tmp_path, "http://127.0.0.1:9/v1", count=8)
    assert streams(arguments, tmp_path / "streams.txt") == 1
    assert (
        "ValueError: illegal header value b'Bearer [key]'"
        in ((tmp_path / "streams.txt").read_text().splitlines()[-1])
    )
    assert_hidden(tmp_path, KEY)


def test_the_password_of_a_proxy_is_a_secret_too(monkeypatch):
    from fusionchat.mt_bench.endpoint.secrets import proxy_passwords

    monkeypatch.setenv("https_proxy", "http://me:proxy-secret@proxy.example:3128")
    assert Redactor(proxy_passwords()).text("at me:proxy-secret@x") == "at me:[key]@x"
