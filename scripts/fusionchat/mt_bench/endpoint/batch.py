"""Requests handed over as one batch, which services answer within a day at half the price.

A batch is noted in the store before it leaves. Whoever runs later finds it there and collects it:
killed runs lose nothing, and two jobs do not submit the same.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fusionchat.errors import UserError
from fusionchat.mt_bench.endpoint.client import Answer
from fusionchat.mt_bench.endpoint.endpoint import Endpoint, Messages
from fusionchat.mt_bench.endpoint.ledger import Batch
from fusionchat.mt_bench.endpoint.limits import BATCH_PRICE, BudgetReachedError
from fusionchat.mt_bench.endpoint.problems import status_problem
from fusionchat.mt_bench.endpoint.store import Request

PATH = "/v1/chat/completions"
WINDOW = "24h"
# A batch whose server does not know of it after a search through the newest ones was never there.
NEWEST = 100
_OVER = ("completed", "failed", "expired", "cancelled")


@dataclass(frozen=True)
class BatchCall:
    """One request of a batch: its parameters, and what the store knows it by."""

    request: Request
    asked: dict[str, Any]


@dataclass
class BatchRunner:
    """Submits what the store lacks, waits, and puts the replies into the store."""

    endpoint: Endpoint
    poll_seconds: float = 30.0

    def call(
        self,
        messages: Messages,
        *,
        temperature: float,
        max_tokens: int,
        repeat: int = 0,
        attempt: int = 0,
        **more: Any,
    ) -> BatchCall:
        """A request as `Endpoint.complete` would make it, at the price of a batch."""
        asked = self.endpoint.parameters(messages, temperature, max_tokens) | more
        request = self.endpoint.request(asked, repeat, attempt)
        return BatchCall(replace(request, budget=request.budget.scaled(BATCH_PRICE)), asked)

    def run(self, calls: Sequence[BatchCall]) -> None:
        """Return when every call has an outcome in the store.

        Raises `BudgetReachedError` when all that the budget allows is collected, and a `UserError`
        where calls stay without outcome in all batches that `retries` allows.
        """
        asked = {call.request.key: call.asked for call in calls}
        submissions = 0
        while waiting := [c for c in calls if self.endpoint.stored(c.request.key) is None]:
            number, reached = self._submit(waiting)
            submissions += bool(number)
            if submissions > self.endpoint.options.retries + 1:
                raise UserError(
                    f"{self.endpoint.options.base_url}: {len(waiting)} requests have no outcome "
                    f"after {submissions - 1} batches; run again when the endpoint works"
                )
            batches = self.endpoint.store.open_batches()
            if not batches and reached is not None:
                raise reached
            for batch in batches:
                self._advance(batch, asked)
            if self.endpoint.store.open_batches():
                self.endpoint.store.wait(self.poll_seconds)

    def _submit(self, calls: Sequence[BatchCall]) -> tuple[int, BudgetReachedError | None]:
        """Hand over what nobody has asked for; how much it was, and whether the budget ends."""
        store, reached = self.endpoint.store, None
        batch, claimed = store.new_batch(), []
        for call in calls:
            try:
                id = store.claim(call.request, self.endpoint.refusal(call.request.key), batch)
            except BudgetReachedError as error:
                reached = error
                break
            if id is not None:
                claimed.append((id, call))
        if not claimed:
            return 0, reached
        lines = [self._line(id, call) for id, call in claimed]
        try:
            file = self._upload("\n".join(lines) + "\n")
            store.submitted(batch, self._create(file, batch))
        except UserError:
            for id, _ in claimed:
                store.refused(id, "not submitted")
            raise
        logging.info("%d requests are submitted as a batch", len(claimed))
        return len(claimed), reached

    def _line(self, id: str, call: BatchCall) -> str:
        body = self.endpoint.body(call.asked)
        return json.dumps({"custom_id": id, "method": "POST", "url": PATH, "body": body})

    def _upload(self, text: str) -> str:
        files = [("file", ("requests.jsonl", text.encode(), "application/jsonl"))]
        headers = {"content-type": "multipart/form-data"}
        sent = {"body": {"purpose": "batch"}, "files": files, "options": {"headers": headers}}
        return self._named("/files", **sent)

    def _create(self, file: str, batch: str) -> str:
        body: dict[str, Any] = {
            "input_file_id": file,
            "endpoint": PATH,
            "completion_window": WINDOW,
        }
        body["metadata"] = {"submission": batch}
        return self._named("/batches", body=body)

    def _advance(self, batch: Batch, asked: Mapping[str, dict[str, Any]]) -> None:
        """Collect a batch that is over; find out about one whose submission was interrupted."""
        if not batch.name and batch.orphaned:
            batch.name = self._search(batch)
        if not batch.name:
            return
        state = self._json("GET", f"/batches/{batch.name}")
        if not isinstance(state.get("status"), str):
            raise UserError(f"{self.endpoint.options.base_url}: {batch.name} has no status")
        if state["status"] not in _OVER:
            return
        for name in ("output_file_id", "error_file_id"):
            if state.get(name):
                self._collect(self._text(f"/files/{state[name]}/content"), batch, asked)
        left = {c for b in self.endpoint.store.open_batches() if b.id == batch.id for c in b.keys}
        for id in left:
            self.endpoint.store.refused(id, f"batch {state['status']}")
        if state["status"] == "failed":
            reason = self.endpoint.client.redactor.text(json.dumps(state.get("errors")))
            raise UserError(f"{self.endpoint.options.base_url}: the batch failed: {reason[:500]}")

    def _search(self, batch: Batch) -> str:
        """The name of a batch whose submission was interrupted; without one, its calls are free."""
        listed = self._json("GET", f"/batches?limit={NEWEST}").get("data") or []
        named = (b for b in listed if (b.get("metadata") or {}).get("submission") == batch.id)
        name = next((str(entry["id"]) for entry in named if entry.get("id")), "")
        if name:
            self.endpoint.store.submitted(batch.id, name)
        else:
            for id in batch.keys:
                self.endpoint.store.withdrawn(id)
        return name

    def _collect(self, text: str, batch: Batch, asked: Mapping[str, dict[str, Any]]) -> None:
        """Put the replies of a result file into the store.

        Lines that are damaged, or not of this batch, are skipped: their calls stay without outcome.
        """
        for line in filter(str.strip, text.split("\n")):
            try:
                result = json.loads(line)
                id, reply = str(result["custom_id"]), result.get("response") or {}
                body, status = reply.get("body"), reply.get("status_code", 0)
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                continue
            if id not in batch.keys:
                continue
            key = batch.keys[id]
            if status == 200:
                parameters = asked.get(key, {"messages": []})
                self.endpoint.settle(id, key, parameters, json.dumps(body), BATCH_PRICE)
            else:
                said = json.dumps(body or {"error": result.get("error")})
                problem = status_problem(status, {}, said)
                # What has no response, as in a batch that expired, was not run and costs nothing.
                charged = problem.charged and bool(reply)
                self.endpoint.failed(id, key, replace(problem, charged=charged))

    def _named(self, path: str, **sent: Any) -> str:
        """The id of what a request makes."""
        reply = self._json("POST", path, **sent)
        if not isinstance(reply.get("id"), str):
            raise UserError(f"{self.endpoint.options.base_url}{path}: the reply names no id")
        return str(reply["id"])

    def _json(self, method: str, path: str, **sent: Any) -> dict[str, Any]:
        try:
            value = json.loads(self._text(path, method, **sent))
        except ValueError as error:
            raise UserError(
                f"{self.endpoint.options.base_url}{path}: the reply is no JSON"
            ) from error
        return value if isinstance(value, dict) else {}

    def _text(self, path: str, method: str = "GET", **sent: Any) -> str:
        """The body of a reply; passing problems are tried again like those of a call."""
        outcome = self.endpoint.patiently(
            lambda: self.endpoint.client.request(method, path, **sent)
        )
        if isinstance(outcome, Answer):
            return outcome.body
        where = f"{self.endpoint.options.base_url}{path.partition('?')[0]}"
        raise UserError(f"{where}: {outcome.kind}: {outcome.reason}")
