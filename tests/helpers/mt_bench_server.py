"""A judge on 127.0.0.1 for tests: real HTTP, with every kind of failure on request."""

import gc
import hashlib
import json
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What a real service sends beside its replies.
JSON = {"content-type": "application/json"}
STREAM = {"content-type": "text/event-stream"}
PACKED = {"content-encoding": "gzip"}
FAULTS = ("429", "500", "drop", "half", "malformed", "no_choices", "empty", "bad", "slow")
SLOW = 1.6
HANG = 3.0
TRICKLE = 0.1


@dataclass(frozen=True)
class Fault:
    """A reply that is not the one asked for.

    `way`: whole, or `drop` (no byte), `half` (of the body), `trickle` (byte by byte), `hang`,
    `chunked` (five bytes each), `early` (hints come first) or `old` (HTTP/1.0, ended by the
    connection's end).
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    way: str = "whole"


def said(value: object, status: int = 200, **headers: str) -> Fault:
    """A fault that says something in JSON."""
    return Fault(status, json.dumps(value).encode(), JSON | headers)


def completion(content: object = "Fine. Rating: [[7]]", **more: object) -> dict:
    """The body of a chat completion; `message`, `choice` and other fields of it may be changed."""
    message = {"role": "assistant", "content": content} | more.pop("message", {})
    choice = {"index": 0, "finish_reason": "stop", "message": message} | more.pop("choice", {})
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    reply = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "usage": usage}
    return reply | {"choices": [choice]} | more


def streamed(text: str, end: str = "stop") -> bytes:
    """A completion in server-sent events, a letter each, with thoughts before it."""
    deltas = [{"role": "assistant", "content": None}, {"reasoning_content": "[[3]]"}]
    deltas += [{"content": letter} for letter in text]
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices += [{"index": 0, "delta": {}, "finish_reason": end}] if end else []
    events = [{"model": "m", "choices": [choice]} for choice in choices]
    events += [{"choices": [], "usage": completion()["usage"]}]
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return "".join([": ping\n\n", *lines, "data: [DONE]\n\n"]).encode()


class FakeModel:
    """Decides how each request is answered and remembers them all.

    `fault(number, key)` names a fault or "" for the `number`-th request; `answer(body)` is a
    `Fault` in its place, or None; `reply(messages)` is the text otherwise.
    """

    def __init__(
        self,
        reply: Callable[[list], str] = lambda messages: "Fine. Rating: [[7]]",
        fault: Callable[[int, str], str] = lambda number, key: "",
        delay: float = 0.0,
        answer: Callable[[dict], Fault | None] = lambda body: None,
    ) -> None:
        self.reply, self.fault, self.delay, self.answer = reply, fault, delay, answer
        self.headers: list[dict] = []
        self.paths: list[str] = []
        self.lock = threading.Lock()
        self.requests: list[dict] = []
        self.keys: list[str] = []
        self.answered: Counter[str] = Counter()

    def accept(self, body: dict) -> tuple[str, str]:
        key = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        with self.lock:
            self.requests.append(body)
            self.keys.append(key)
            number = len(self.requests)
        return key, self.fault(number, key)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        model: FakeModel = self.server.model
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        key, fault = model.accept(body)
        model.headers.append(dict(self.headers))
        model.paths.append(self.path)
        if special := model.answer(body):
            time.sleep(model.delay)
            self._fault(special)
            return
        time.sleep(SLOW if fault == "slow" else model.delay)
        if fault in ("429", "500"):
            self._send(int(fault), {"error": {"message": f"fault {fault}"}})
        elif fault.startswith("status "):
            _, status, *more = fault.split(maxsplit=2)
            said = f"{' '.join(more)} (you said {self.headers['authorization']})"
            self._send(int(status), {"error": {"message": said}})
        elif fault == "drop":
            self.close_connection = True
        else:
            self._complete(model, body, key, fault)

    def _fault(self, fault: Fault) -> None:
        self.close_connection = True
        if fault.way == "drop":
            return
        if fault.way == "hang":
            time.sleep(HANG)
            return
        if fault.way == "early":
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
        if fault.way == "old":
            self.protocol_version = "HTTP/1.0"
        self.send_response(fault.status)
        for name, value in fault.headers.items():
            self.send_header(name, value)
        if fault.way == "chunked":
            self.send_header("transfer-encoding", "chunked")
        elif fault.way != "old":
            self.send_header("content-length", str(len(fault.body)))
        self.send_header("connection", "close")  # or the client may use it again as it closes
        self.end_headers()
        if fault.way == "chunked":
            parts = [fault.body[i : i + 5] for i in range(0, len(fault.body), 5)]
            chunks = [b"%x;note=1\r\n%s\r\n" % (len(part), part) for part in parts]
            self.wfile.write(b"".join([*chunks, b"0\r\nx-end: 1\r\n\r\n"]))
            return
        sent = fault.body[: len(fault.body) // 2] if fault.way == "half" else fault.body
        try:
            for i in range(len(sent) if fault.way == "trickle" else 0):
                self.wfile.write(sent[i : i + 1])
                time.sleep(TRICKLE)
            if fault.way != "trickle":
                self.wfile.write(sent)
        except OSError:
            pass

    def _complete(self, model: FakeModel, body: dict, key: str, fault: str) -> None:
        text = {"empty": "", "bad": "Rating: [[99]]"}.get(fault) or model.reply(body["messages"])
        text = "" if fault == "empty" else text
        choices = [{"index": 0, "message": {"role": "assistant", "content": text}}]
        reply = {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [] if fault == "no_choices" else choices,
            "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
        }
        data = json.dumps(reply).encode()
        if fault == "malformed":
            data = data[: len(data) // 2]
        if fault == "half":
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return
        if not fault:
            with model.lock:
                model.answered[key] += 1
        self._send(200, data)

    def _send(self, status: int, content: dict | bytes) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        try:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True


class Server(ThreadingHTTPServer):
    """Takes all connections of a busy moment at once."""

    request_queue_size = 128


@contextmanager
def serve(model: FakeModel) -> Iterator[str]:
    """Serve the model; yields the base URL."""
    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.model = model
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        with warnings.catch_warnings():  # the HTTP library forgets connections of cancelled calls
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
