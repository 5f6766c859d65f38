"""What the events of a store say: outcomes, calls under way, batches, and the account.

Events may come in any order, and twice.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fusionchat.mt_bench.endpoint.limits import Account, Reservation
from fusionchat.mt_bench.endpoint.owners import Owner, Watch


@dataclass(frozen=True)
class Response:
    """A model's reply, its size in tokens, its price in dollars, its Unix time of arrival.

    `alternatives` are log-probabilities of the first token's, where they were asked for.
    `estimated` says that the tokens were not counted by the server; `system_role` where the
    system's text was put, if not in a turn of its own.
    """

    text: str
    model: str
    finish: str
    prompt_tokens: int
    completion_tokens: int
    usd: float
    tstamp: float
    thoughts: str = ""
    refusal: str = ""
    estimated: bool = False
    system_role: str = ""
    alternatives: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Declined:
    """That an endpoint will not answer a request: in which way, in its words, since when."""

    kind: str
    reason: str
    tstamp: float


Outcome = Response | Declined


@dataclass
class _Call:
    """A call that was sent: for what, at which price, by whom, in which batch if any."""

    key: str
    reserved: Reservation
    owner: Owner | None
    segment: Path
    batch: str = ""


@dataclass
class Batch:
    """Requests that were handed over together: key by call, and the server's name once known.

    `orphaned` says that the process which handed them over runs no more.
    """

    id: str
    name: str = ""
    keys: dict[str, str] = field(default_factory=dict)
    orphaned: bool = False


class Ledger:
    """The state that the events of all segments add up to."""

    def __init__(self) -> None:
        self._outcomes: dict[str, tuple[tuple[bool, float, str], Outcome]] = {}
        self._pending: dict[str, _Call] = {}
        self._batches: dict[str, Batch] = {}
        self._sent: dict[str, Reservation] = {}
        self._ended: dict[str, str] = {}
        self._account = Account()
        self._owners: dict[Path, Owner | None] = {}
        self._watch = Watch()

    def outcome(self, key: str) -> Outcome | None:
        """What became of a request; of several responses, the first counts."""
        return self._outcomes[key][1] if key in self._outcomes else None

    def under_way(self, besides: str = "") -> set[str]:
        """The keys of the calls that may still have an outcome, but for one call."""
        return {call.key for call in self._live_calls(besides)}

    def account(self, besides: str = "") -> Account:
        """Calls, dollars and losses of the whole store; what live processes wait for is in flight.

        `besides` is a call that is left out.
        """
        live = list(self._live_calls(besides))
        pending = sum(id != besides for id in self._pending)
        gone = [c for id, c in self._pending.items() if not self._is_live(c) and id != besides]
        at_most = sum(call.reserved.at_most_usd for call in live)
        expected = sum(call.reserved.expected_usd for call in live)
        return replace(
            self._account,
            calls=self._account.calls - (besides in self._pending),
            usd=self._account.usd + sum(call.reserved.expected_usd for call in gone),
            lost=self._account.lost + pending - len(live),
            in_flight=len(live),
            reserved=Reservation(at_most, expected),
        )

    def _live_calls(self, besides: str) -> Iterable[_Call]:
        return (c for id, c in self._pending.items() if id != besides and self._is_live(c))

    def _is_live(self, call: _Call) -> bool:
        """Whether a call may still have an outcome: its process runs, or its batch is out."""
        return bool(call.batch) or self._watch.is_alive(call.owner, call.segment)

    def open_batches(self) -> list[Batch]:
        """Batches some of whose calls have no outcome yet."""
        batches = []
        for batch in self._batches.values():
            calls = {id: self._pending[id] for id in batch.keys if id in self._pending}
            living = {self._watch.is_alive(c.owner, c.segment) for c in calls.values()}
            keys = {id: call.key for id, call in calls.items()}
            if calls:
                batches.append(replace(batch, keys=keys, orphaned=not any(living)))
        return batches

    def apply(self, event: dict[str, Any], segment: Path) -> None:
        """Take in an event of a segment."""
        kind = event["event"]
        if kind == "opened":
            self._owners[segment] = Owner(**event["owner"])
        elif kind == "closed":
            self._owners[segment] = None
            for call in self._pending.values():
                if call.segment == segment:
                    call.owner = None
        elif kind == "submitted":
            self._batches.setdefault(event["batch"], Batch(event["batch"])).name = event["name"]
        elif kind == "sent":
            self._apply_sent(event, segment)
        else:
            self._apply_end(event)

    def _apply_sent(self, event: dict[str, Any], segment: Path) -> None:
        id, batch = event["call"], event.get("batch", "")
        if id in self._sent:
            return
        at_most = event["at_most_usd"]
        reserved = Reservation(at_most, event.get("expected_usd", at_most))
        self._sent[id] = reserved
        self._account.calls += 1
        if id in self._ended:  # by a process whose segment was read before
            self._count_end(id)
            return
        call = _Call(event["key"], reserved, self._owners.get(segment), segment, batch)
        self._pending[id] = call
        if batch:
            self._batches.setdefault(batch, Batch(batch)).keys[id] = event["key"]

    def _apply_end(self, event: dict[str, Any]) -> None:
        kind, id = event["event"], event["call"]
        self._pending.pop(id, None)
        if id in self._ended:
            return
        self._ended[id] = kind
        if id in self._sent:
            self._count_end(id)
        if kind == "response":
            response = Response(
                **{f: event[f] for f in Response.__dataclass_fields__ if f in event}
            )
            self._account.usd += response.usd
            self._account.dearest_usd = max(self._account.dearest_usd, response.usd)
            self._account.longest = max(self._account.longest, response.completion_tokens)
            self._keep(event["key"], id, response)
        elif kind == "declined":
            declined = Declined(event["kind"], event["reason"], event["tstamp"])
            self._keep(event["key"], id, declined)

    def _count_end(self, id: str) -> None:
        """Count what is known of a call only when both its beginning and its end are."""
        if self._ended[id] == "withdrawn":
            self._account.calls -= 1
        elif self._ended[id] == "lost":
            self._account.lost += 1
            self._account.usd += self._sent[id].expected_usd

    def _keep(self, key: str, call: str, outcome: Outcome) -> None:
        """A response counts more than that there was none; of two alike, the first one counts."""
        rank = (isinstance(outcome, Declined), outcome.tstamp, call)
        if key not in self._outcomes or rank < self._outcomes[key][0]:
            self._outcomes[key] = (rank, outcome)
