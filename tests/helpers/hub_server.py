"""A stand-in for the Hugging Face Hub on 127.0.0.1 that can break off and lie."""

import hashlib
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Repositories by name, and what the server does wrong."""

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)  # file: how often it breaks off half-way
    busy: dict[str, int] = field(default_factory=dict)  # file: how often it is answered 503
    lies: dict[str, bytes] = field(default_factory=dict)  # file: what is sent instead
    expired: set[str] = field(default_factory=set)  # files sent on to a signed address: 403
    token: str | None = None  # what private repositories ask for
    ranges: bool = True  # whether a file can be continued
    commit: str = COMMIT
    pause: float = 0.0  # seconds between pieces
    requests: list[tuple[str, str | None]] = field(default_factory=list)  # file, Range
    url: str = ""

    def info(self, repo: str) -> bytes:
        siblings = []
        for name, content in self.repos[repo].items():
            entry = {"rfilename": name, "size": len(content)}
            entry["blobId"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            if name.endswith((".safetensors", ".bin")):
                checksum = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"sha256": checksum, "size": len(content), "pointerSize": 100}
            siblings.append(entry)
        return json.dumps({"id": repo, "sha": self.commit, "siblings": siblings}).encode()


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_GET(self):
            parts = self.path.partition("?")[0].strip("/").split("/")
            if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
                return self.refuse(401)
            if parts[0] == "signed":
                return self.refuse(403)
            if parts[0] == "api":
                repo = "/".join(parts[2:4])
                return self.reply(hub.info(repo) if repo in hub.repos else None)
            parts = parts[1:] if parts[0] in ("datasets", "spaces") else parts
            repo, name = "/".join(parts[:2]), "/".join(parts[4:])
            hub.requests.append((name, self.headers.get("Range")))
            if hub.busy.get(name, 0) > 0:
                hub.busy[name] -= 1
                return self.refuse(503)
            if name in hub.expired:
                return self.refuse(302, f"{hub.url}/signed/{name}?X-Signature=s3cret")
            content = hub.lies.get(name, hub.repos.get(repo, {}).get(name))
            self.reply(content, name)

        def refuse(self, status: int, location: str | None = None):
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def reply(self, content: bytes | None, name: str = ""):
            if content is None:
                return self.refuse(404)
            asked = self.headers.get("Range") if hub.ranges else None
            start = int((asked or "bytes=0-").split("=")[1].split("-")[0])
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            total = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", total)
            self.end_headers()
            rest = content[start:]
            if hub.cut.get(name, 0) > 0:
                hub.cut[name] -= 1
                self.wfile.write(rest[: len(rest) // 2])
                self.wfile.flush()
                self.close_connection = True
                return
            for i in range(0, len(rest), 2**20):
                self.wfile.write(rest[i : i + 2**20])
                time.sleep(hub.pause)

    return Handler


@contextmanager
def serve():
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
