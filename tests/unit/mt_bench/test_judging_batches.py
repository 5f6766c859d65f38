"""Judging by batches: half the price, one submission, nothing lost by a kill."""

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

import pytest
from judge_runs import KEY, judgments, options
from mt_bench_server import completion

import judge
from fusionchat.errors import UserError
from fusionchat.files import read_jsonl
from fusionchat.mt_bench.endpoint.batch import BatchRunner
from fusionchat.mt_bench.endpoint.store import ResponseStore


class Batches:
    """A server of batches: each is done when it has been asked about often enough."""

    def __init__(self, polls: int = 1, reply=lambda body: (200, completion())) -> None:
        self.polls, self.reply, self.lock = polls, reply, Lock()
        self.files: dict[str, str] = {}
        self.batches: dict[str, dict] = {}
        self.asked: dict[str, int] = {}
        self.requests: list[dict] = []
        self.status = "completed"

    def create(self, body: dict) -> dict:
        name = f"batch_{len(self.batches)}"
        lines = [json.loads(line) for line in self.files[body["input_file_id"]].splitlines()]
        self.requests += [line["body"] for line in lines]
        results = {"output": [], "error": []}
        for line in reversed(lines):
            status, said = self.reply(line["body"])
            response = {"status_code": status, "body": said}
            kind = "output" if status == 200 else "error"
            results[kind].append({"custom_id": line["custom_id"], "response": response})
        batch = {"id": name, "metadata": body["metadata"], "status": "in_progress"}
        for kind, found in results.items():
            self.files[f"{name}_{kind}"] = "\n".join(map(json.dumps, found))
        self.batches[name] = batch
        return batch

    def state(self, name: str) -> dict:
        self.asked[name] = self.asked.get(name, 0) + 1
        if self.asked[name] < self.polls:
            return self.batches[name]
        ids = {f"{kind}_file_id": f"{name}_{kind}" for kind in ("output", "error")}
        return self.batches[name] | {"status": self.status} | ids


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        server, data = self.server.batches, self.rfile.read(int(self.headers["content-length"]))
        with server.lock:
            if self.path.endswith("/files"):
                name = f"file_{len(server.files)}"
                content = re.search(rb"requests\.jsonl.*?\r\n\r\n(.*?)\r\n--", data, re.DOTALL)[1]
                server.files[name] = content.decode()
                self.send({"id": name})
            else:
                self.send(server.create(json.loads(data)))

    def do_GET(self) -> None:
        server, path = self.server.batches, self.path.removeprefix("/v1/")
        with server.lock:
            if path.startswith("files/"):
                self.send(server.files[path.split("/")[1]])
            elif path.startswith("batches?"):
                self.send({"data": list(server.batches.values())})
            else:
                self.send(server.state(path.split("/")[1]))

    def send(self, value: object) -> None:
        data = (value if isinstance(value, str) else json.dumps(value)).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def serving(monkeypatch):
    """Starts a server of batches; gives its base URL."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    started = []

    def start(batches: Batches) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads, server.batches = True, batches
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        started.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1"

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


BATCH = {"batch": True, "poll_seconds": 0.05, "input_price": 10, "output_price": 100}


def run(folder, url, **more):
    judge.main(options(folder, url, count=8, **BATCH, **more))
    return read_jsonl(judgments(folder))


def test_a_batch_is_submitted_once_and_costs_half(tmp_path, serving, monkeypatch):
    batches = Batches(polls=3)
    url = serving(batches)
    records = run(tmp_path, url)
    assert {r["score"] for r in records} == {7}
    assert (len(batches.batches), len(batches.requests)) == (1, 16)
    usd = ResponseStore(tmp_path / "store").account().usd
    assert usd == pytest.approx(16 * (100 * 10 + 10 * 100) / 1e6 / 2)
    # The same records as without a batch, from the same store, without key or network.
    first = judgments(tmp_path).read_bytes()
    monkeypatch.delenv("OPENAI_API_KEY")
    judge.main(options(tmp_path, "http://nowhere.invalid/v1", count=8))
    assert judgments(tmp_path).read_bytes() == first


def test_what_a_batch_declines_is_missing_and_what_is_unusable_is_asked_again(tmp_path, serving):
    def reply(body: dict) -> tuple[int, dict]:
        text = body["messages"][-1]["content"]
        if "Question 3:" in text and "Q1" not in text:
            return 400, {"error": {"code": "content_filter", "message": "blocked"}}
        if "Question 5:" in text and body["temperature"] == 0:
            return 200, completion("no number")
        return 200, completion()

    batches = Batches(reply=reply)
    records = run(tmp_path, serving(batches))
    assert [r["missing"] for r in records if r["score"] == -1] == ["blocked"]
    assert sorted(r["attempts"] for r in records) == [1] * 14 + [2] * 2
    assert (len(batches.batches), len(batches.requests)) == (2, 18)


@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_a_killed_run_collects_its_batch(tmp_path, serving, monkeypatch, moment):
    batches = Batches()
    url = serving(batches)
    upload, create, submitted = BatchRunner._upload, BatchRunner._create, ResponseStore.submitted

    def killed(*args: object) -> None:
        if moment == "between":
            create(*args)
        raise KeyboardInterrupt

    name = {"before": "_upload", "between": "_create"}.get(moment)
    if name:
        monkeypatch.setattr(BatchRunner, name, killed)
    else:
        monkeypatch.setattr(BatchRunner, "_advance", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, url)
    monkeypatch.undo()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert (BatchRunner._upload, ResponseStore.submitted) == (upload, submitted)
    assert {r["score"] for r in run(tmp_path, url)} == {7}
    assert (len(batches.batches), len(batches.requests)) == (1, 16)
    account = ResponseStore(tmp_path / "store").account()
    assert (account.calls, account.in_flight, account.lost) == (16, 0, 0)


def test_a_budget_ends_a_batch_early_and_keeps_what_arrived(tmp_path, serving):
    usage = {"prompt_tokens": 100, "completion_tokens": 1000}
    batches = Batches(reply=lambda body: (200, completion() | {"usage": usage}))
    call = (100 * 10 + 1000 * 100) / 1e6 / 2
    with pytest.raises(UserError, match=r"budget of \$0.30 is spent"):
        run(tmp_path, serving(batches), budget_usd=0.3)
    account = ResponseStore(tmp_path / "store").account()
    assert 0.3 - call < account.usd <= 0.3
    assert account.calls == len(batches.requests)


def test_a_failed_batch_is_told(tmp_path, serving):
    batches = Batches()
    batches.status = "failed"
    with pytest.raises(UserError, match="the batch failed"):
        run(tmp_path, serving(batches))


def test_what_an_expired_batch_left_undone_costs_nothing_and_is_asked_for_again(tmp_path, serving):
    batches = Batches()
    create = batches.create

    def expiring(body: dict) -> dict:
        batch = create(body)
        batches.status = "expired" if batch["id"] == "batch_0" else "completed"
        if batches.status == "expired":
            lines = batches.files["batch_0_output"].split("\n")
            undone = {"response": None, "error": {"code": "batch_expired", "message": "too late"}}
            left = [json.dumps(json.loads(line) | undone) for line in lines[10:14]]
            batches.files["batch_0_output"] = "\n".join(lines[:10])  # of two there is no word
            batches.files["batch_0_error"] = "\n".join(left)
        return batch

    batches.create = expiring
    assert {r["score"] for r in run(tmp_path, serving(batches))} == {7}
    assert (len(batches.batches), len(batches.requests)) == (2, 22)
    account = ResponseStore(tmp_path / "store").account()
    assert (account.in_flight, account.lost) == (0, 0)
    assert account.usd == pytest.approx(16 * (100 * 10 + 10 * 100) / 1e6 / 2)


def test_damaged_results_are_asked_for_again(tmp_path, serving):
    """In the first batch two lines are no results, and one is cut in half."""
    batches = Batches()
    create = batches.create

    def damaged(body: dict) -> dict:
        batch = create(body)
        name = f"{batch['id']}_output"
        if batch["id"] == "batch_0":
            lines = batches.files[name].split("\n")
            lines[:3] = ["[1]", json.dumps({"custom_id": ["x"], "response": "no"}), lines[2][:40]]
            batches.files[name] = "\n".join(lines)
        return batch

    batches.create = damaged
    assert {r["score"] for r in run(tmp_path, serving(batches))} == {7}
    assert (len(batches.batches), len(batches.requests)) == (2, 19)


@pytest.mark.parametrize(
    ("method", "reply", "told"),
    [
        ("create", {}, "/batches: the reply names no id"),
        ("create", {"id": None}, "/batches: the reply names no id"),
        ("state", {"error": "what?"}, "batch_0 has no status"),
        ("state", {"status": None}, "batch_0 has no status"),
    ],
)
def test_a_service_of_batches_that_is_none_is_one_line(tmp_path, serving, method, reply, told):
    batches = Batches()
    setattr(batches, method, lambda *_: reply)
    with pytest.raises(UserError, match=told):
        run(tmp_path, serving(batches))


def test_what_is_refused_again_is_asked_for_once_a_run(tmp_path, serving):
    def reply(body: dict) -> tuple[int, dict]:
        if "Question 3:" in body["messages"][-1]["content"]:
            return 400, {"error": {"code": "content_filter", "message": "blocked"}}
        return 200, completion()

    batches = Batches(reply=reply)
    url = serving(batches)
    for _ in range(2):
        records = run(tmp_path, url, retry_refused=True)
        assert [r["missing"] for r in records if r["score"] == -1] == ["blocked"] * 2
    assert [len(batches.batches), len(batches.requests)] == [2, 18]
