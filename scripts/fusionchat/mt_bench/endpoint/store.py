"""The store of paid responses: appended durably on arrival, replayed for free.

A folder of segments, one for each process that ever wrote to it, each a file of JSON lines:

- `sent`: a request is about to leave. Written at once, so that it survives a kill.
- `response`: what came back, on the disk before it is used.
- `refused`: the server said that it did nothing (429, 5xx); nothing is owed.
- `lost`: no usable response arrived, but the server may have done the work.

A `sent` without an outcome, in the segment of a process that no longer runs, is lost as well.
"""

import fcntl
import hashlib
import json
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fusionchat.errors import UserError
from fusionchat.files import lock, locked


@dataclass(frozen=True)
class Response:
    """A model's reply, its size in tokens, its price in dollars, its Unix time of arrival."""

    text: str
    model: str
    finish: str
    prompt_tokens: int
    completion_tokens: int
    usd: float
    tstamp: float


@dataclass
class Account:
    """What the calls in a store amount to: their number, the dollars, and what got lost."""

    calls: int = 0
    usd: float = 0.0
    lost: int = 0


def content_key(**content: Any) -> str:
    """The key of a request: a checksum of all that decides its response."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


class ResponseStore:
    """All segments of a folder, and a segment of its own for what this process appends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock, self._entry = threading.Lock(), threading.Lock()
        self._responses: dict[str, Response] = {}
        self._pending: dict[Path, dict[str, float]] = {}
        self._account = Account()
        self._read_bytes: dict[Path, int] = {}
        self._own: int | None = None
        self._own_path = folder / f"calls-{uuid.uuid4().hex[:12]}.jsonl"
        self.refresh()

    def get(self, key: str) -> Response | None:
        """The response to a request, if it was ever paid for."""
        with self._lock:
            return self._responses.get(key)

    def sent(self, key: str, at_most_usd: float) -> str:
        """Note that a request leaves now; returns the id of the call."""
        call = uuid.uuid4().hex[:16]
        self._append({"event": "sent", "call": call, "key": key, "at_most_usd": at_most_usd})
        return call

    def received(self, call: str, key: str, response: Response) -> None:
        """Keep a response: on the disk when this returns."""
        self._append(
            {"event": "response", "call": call, "key": key, **asdict(response)}, durable=True
        )

    def refused(self, call: str, reason: str) -> None:
        """Note that the server did nothing for a call."""
        self._append({"event": "refused", "call": call, "reason": reason})

    def lost(self, call: str, reason: str) -> None:
        """Note that a call has no usable response although it may be charged."""
        self._append({"event": "lost", "call": call, "reason": reason})

    def account(self) -> Account:
        """Calls, dollars and losses of the whole store, calls in flight at their highest price."""
        with self._lock:
            total = Account(self._account.calls, self._account.usd, self._account.lost)
            for path, pending in self._pending.items():
                total.usd += sum(pending.values())
                if pending and path != self._own_path and not _is_alive(path):
                    total.lost += len(pending)
            return total

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other threads and processes out of a block that reads the account and then pays."""
        with self._entry, locked(self.folder / ".lock"):
            yield

    def refresh(self) -> None:
        """Read what other processes have appended since the last time."""
        with self._lock:
            for path in sorted(self.folder.glob("calls-*.jsonl")):
                if path != self._own_path:
                    self._read_segment(path)

    def close(self) -> None:
        """Close the segment of this process."""
        with self._lock:
            if self._own is not None:
                os.close(self._own)
                self._own = None

    def _append(self, event: dict[str, Any], durable: bool = False) -> None:
        line = json.dumps(event, sort_keys=True).encode() + b"\n"
        with self._lock:
            try:
                if self._own is None:
                    self._own = _new_segment(self._own_path)
                _write_all(self._own, line)
                if durable:
                    os.fsync(self._own)
            except OSError as error:
                raise UserError(f"{self._own_path}: cannot be written: {error.strerror}") from error
            self._apply(event, self._own_path)

    def _read_segment(self, path: Path) -> None:
        start = self._read_bytes.get(path, 0)
        if path.stat().st_size == start:
            return
        with path.open("rb") as stream:
            stream.seek(start)
            data = stream.read()
        # A line without its end is still being written, or was when its process was killed.
        whole = data[: data.rfind(b"\n") + 1]
        self._read_bytes[path] = start + len(whole)
        for line in whole.splitlines():
            try:
                self._apply(json.loads(line), path)
            except (ValueError, LookupError, TypeError) as error:
                raise UserError(f"{path}: is damaged; remove the line {line[:60]!r}") from error

    def _apply(self, event: dict[str, Any], segment: Path) -> None:
        pending = self._pending.setdefault(segment, {})
        if event["event"] == "sent":
            self._account.calls += 1
            pending[event["call"]] = event["at_most_usd"]
            return
        at_most = pending.pop(event["call"], 0.0)
        if event["event"] == "response":
            fields = {name: event[name] for name in Response.__dataclass_fields__}
            response = Response(**fields)
            self._responses.setdefault(event["key"], response)
            self._account.usd += response.usd
        elif event["event"] == "lost":
            self._account.lost += 1
            self._account.usd += at_most


def _is_alive(segment: Path) -> bool:
    """Whether the process that writes a segment still holds its lock."""
    with segment.open("rb") as stream:
        return not _try_lock(stream)


def _try_lock(stream: BinaryIO) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _new_segment(path: Path) -> int:
    """Create a locked segment whose name outlives a power cut, too."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL, 0o666)
    lock(descriptor)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    return descriptor


def _write_all(descriptor: int, data: bytes) -> None:
    """Append all of the line or, on a full disk, nothing: half a line would spoil the next one."""
    before = os.fstat(descriptor).st_size
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        os.ftruncate(descriptor, before)
        raise
