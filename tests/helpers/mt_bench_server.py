"""A judge on 127.0.0.1 for tests: real HTTP, with every kind of failure on request."""

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = ("429", "500", "drop", "half", "malformed", "no_choices", "empty", "bad", "slow")
SLOW = 1.6


class FakeModel:
    """Decides how each request is answered and remembers them all.

    `fault(number, key)` names a fault or "" for the `number`-th request; `reply(messages)` is the
    text otherwise.
    """

    def __init__(
        self,
        reply: Callable[[list], str] = lambda messages: "Fine. Rating: [[7]]",
        fault: Callable[[int, str], str] = lambda number, key: "",
        delay: float = 0.0,
    ) -> None:
        self.reply, self.fault, self.delay = reply, fault, delay
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
