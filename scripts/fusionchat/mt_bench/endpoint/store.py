"""The store of paid responses: appended durably on arrival, replayed for free, shared by all jobs.

A folder of segments, one for each process that ever wrote to it, each a file of JSON lines. What
is in them counts, not their names or order, and reading a line twice changes nothing. So segments
may be renamed, joined, or brought together from several machines.

- `opened`, `closed`: which process writes the segment from here on, and that it has ended.
- `sent`: a request is about to leave; so nobody else makes it, and its price is reserved. Written
  at once, so that it survives a kill.
- `withdrawn`: it did not leave, because another process was faster or the budget ends.
- `response`: what came back, on the disk before it is used.
- `declined`: the endpoint will not answer this request; that is its outcome.
- `refused`: the server said that it did nothing (429, 5xx); nothing is owed.
- `lost`: no usable response arrived, but the server may have done the work.
- `submitted`: the calls of a batch have left together, under the server's name of the batch.

A `sent` without an outcome, of a process that no longer runs, is lost as well.
"""

import hashlib
import json
import os
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fusionchat.errors import UserError
from fusionchat.mt_bench.endpoint.ledger import Batch, Declined, Ledger, Outcome, Response
from fusionchat.mt_bench.endpoint.limits import Account, Admission, Budget, Reservation
from fusionchat.mt_bench.endpoint.owners import HEARTBEAT, give_up, new_owner


@dataclass(frozen=True)
class Request:
    """What a call asks for: its key, its size in tokens and of the longest reply, its budget."""

    key: str
    prompt_tokens: int
    most_tokens: int
    budget: Budget

    def reserve(self, account: Account) -> Reservation:
        """What the call may cost, as the replies so far went."""
        return self.budget.reserve(self.prompt_tokens, self.most_tokens, account)


def content_key(**content: Any) -> str:
    """The key of a request: a checksum of all that decides its response."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


class ResponseStore:
    """All segments of a folder, and a segment of its own for what this process appends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock, self._entry = threading.RLock(), threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._ledger = Ledger()
        self._read_bytes: dict[Path, int] = {}
        self._own: _Segment | None = None
        self.refresh()

    def get(self, key: str) -> Outcome | None:
        """What became of a request, if it was ever paid for or declined.

        Of several responses, which only stores of different machines can hold, the first counts.
        """
        with self._lock:
            return self._ledger.outcome(key)

    def claim(self, request: Request, known: Declined | None, batch: str = "") -> str | None:
        """Take a request upon oneself and return the call's id, before it may leave.

        `known` is the refusal that is to be tried again, if there is one. None if another
        thread or process is making the same request or has made it, or if the budget is in flight:
        look again when something has changed. Raises `BudgetReachedError`.

        The claim is written first and the other segments are read afterwards, so that of two
        processes at least one sees the other and withdraws: this needs no locks, which some shared
        file systems lack.
        """
        with self._entry:
            if not self._is_free(request, known):
                return None
            call = _new_id()
            sent = {"event": "sent", "call": call, "key": request.key, "batch": batch}
            self._append(sent | asdict(request.reserve(self.account())), durable=True)
            try:
                free = self._is_free(request, known, besides=call)
            except BaseException:
                self.withdrawn(call)
                raise
            if not free:
                self.withdrawn(call)
                return None
            return call

    def _is_free(self, request: Request, known: Declined | None, besides: str = "") -> bool:
        self.refresh()
        with self._lock:
            outcome = self.get(request.key)
            if isinstance(outcome, Response) or outcome != known:
                return False
            if request.key in self._ledger.under_way(besides):
                return False
            account = self.account(besides)
        return request.budget.admit(account, request.reserve(account)) is Admission.GO

    def withdrawn(self, call: str) -> None:
        """Note that a call did not leave."""
        self._append({"event": "withdrawn", "call": call})

    def received(self, call: str, key: str, response: Response, raw: Any = None) -> None:
        """Keep a response, and the reply as it came: on the disk when this returns."""
        event = {"event": "response", "call": call, "key": key, **asdict(response), "raw": raw}
        self._append(event, durable=True)

    def declined(self, call: str, key: str, kind: str, reason: str) -> Declined:
        """Keep that a request will not be answered; `call`, if there is one, costs nothing."""
        outcome = Declined(kind, reason, time.time())
        call = call or _new_id()
        self._append({"event": "declined", "call": call, "key": key, **asdict(outcome)}, True)
        return outcome

    def refused(self, call: str, reason: str) -> None:
        """Note that the server did nothing for a call."""
        self._append({"event": "refused", "call": call, "reason": reason})

    def lost(self, call: str, reason: str) -> None:
        """Note that a call has no usable response although it may be charged."""
        self._append({"event": "lost", "call": call, "reason": reason})

    def account(self, besides: str = "") -> Account:
        """Calls, dollars and losses of the whole store, but for one call."""
        with self._lock:
            return self._ledger.account(besides)

    def new_batch(self) -> str:
        """An id for requests that are going to leave together."""
        return _new_id()

    def submitted(self, batch: str, name: str) -> None:
        """Note the server's name of a batch."""
        self._append({"event": "submitted", "batch": batch, "name": name}, durable=True)

    def open_batches(self) -> list[Batch]:
        """Batches some of whose calls have no outcome yet."""
        with self._lock:
            self.refresh()
            return self._ledger.open_batches()

    def wait(self, seconds: float) -> None:
        """Wait for a change, or for so long, since other processes tell nobody."""
        with self._changed:
            self._changed.wait(seconds)
        self.refresh()

    def refresh(self) -> None:
        """Read what other processes have appended since the last time."""
        with self._lock:
            for path in sorted(self.folder.glob("*.jsonl")):
                if self._own is None or path != self._own.path:
                    self._read_segment(path)

    def close(self) -> None:
        """Close the segment of this process."""
        with self._lock:
            if self._own is not None:
                self._append({"event": "closed"})
                self._own.close()
                self._own = None

    def _append(self, event: dict[str, Any], durable: bool = False) -> None:
        with self._changed:
            if self._own is None:
                self._own = _Segment(self.folder)
                opened = {"event": "opened", "owner": asdict(self._own.owner)}
                self._own.append(opened)
                self._ledger.apply(opened, self._own.path)
            self._own.append(event, durable)
            self._ledger.apply(event, self._own.path)
            self._changed.notify_all()

    def _read_segment(self, path: Path) -> None:
        start = self._read_bytes.get(path, 0)
        with path.open("rb") as stream:
            stream.seek(start)
            data = stream.read()
        # A line without its end is still being written, or was when its process was killed; so
        # only what is new is read, and `read_jsonl`, which takes whole files, does not fit.
        whole = data[: data.rfind(b"\n") + 1]
        self._read_bytes[path] = start + len(whole)
        for line in whole.splitlines():
            try:
                self._ledger.apply(json.loads(line), path)
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                raise UserError(f"{path}: is damaged; remove the line {line[:60]!r}") from error


class _Segment:
    """A file that only this process appends to, and touches while it is open."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"calls-{_new_id()}.jsonl"
        try:
            self._descriptor = os.open(
                self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL, 0o666
            )
            # Its name outlives a power cut, too.
            parent = os.open(folder, os.O_RDONLY)
            os.fsync(parent)
            os.close(parent)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}") from error
        self.owner = new_owner()
        self._closed = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def append(self, event: dict[str, Any], durable: bool = False) -> None:
        """Write an event; with `durable`, wait until it is on the disk."""
        line = json.dumps(event, sort_keys=True).encode() + b"\n"
        try:
            _write_all(self._descriptor, line)
            if durable:
                os.fsync(self._descriptor)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Write no more."""
        self._closed.set()
        give_up(self.owner)
        os.close(self._descriptor)

    def _beat(self) -> None:
        """Show processes on other machines that this one lives."""
        while not self._closed.wait(HEARTBEAT):
            try:
                os.utime(self._descriptor)
            except OSError:
                return


def _new_id() -> str:
    return uuid.uuid4().hex[:16]


def _write_all(descriptor: int, data: bytes) -> None:
    """Append all of the line or, on a full disk, nothing: half a line would spoil the next one."""
    before = os.fstat(descriptor).st_size
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        os.ftruncate(descriptor, before)
        raise
