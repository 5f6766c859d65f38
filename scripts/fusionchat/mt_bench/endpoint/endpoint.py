"""A model behind an OpenAI-compatible endpoint: asked once, every failure accounted for."""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fusionchat.errors import UserError
from fusionchat.mt_bench.endpoint.client import Answer, Client
from fusionchat.mt_bench.endpoint.ledger import Declined, Outcome, Response
from fusionchat.mt_bench.endpoint.limits import Pace, backoff
from fusionchat.mt_bench.endpoint.parallel import StoppedError
from fusionchat.mt_bench.endpoint.problems import Action, Problem
from fusionchat.mt_bench.endpoint.replies import Reply, Usage, read_reply
from fusionchat.mt_bench.endpoint.settings import EndpointOptions, SystemRole
from fusionchat.mt_bench.endpoint.store import Request, ResponseStore, content_key
from fusionchat.mt_bench.endpoint.tokens import estimate_tokens, tokenizer_counter

Messages = list[dict[str, str]]
# Marks of roles and turns around each message.
_TOKENS_PER_MESSAGE = 8
# Seconds after which a thread looks again for what other processes have done.
_LOOK_AGAIN = 0.2


class RequestRefusedError(Exception):
    """The endpoint cannot answer this one request; `kind` groups similar reasons.

    `passing` says that all tries failed as they do while an endpoint is away.
    """

    def __init__(self, kind: str, reason: str, passing: bool = False) -> None:
        super().__init__(reason)
        self.kind, self.reason, self.passing = kind, reason, passing


class Endpoint:
    """A model behind an API, in front of a store; safe to use from many threads and processes."""

    def __init__(self, options: EndpointOptions, store: ResponseStore) -> None:
        self.options, self.store = options, store
        self.client = Client(options)
        self.stop = threading.Event()
        self._pace = Pace(options.requests_per_minute, store.folder / ".pace")
        self._system_role: SystemRole = options.system_role
        path = options.tokenizer
        self._count = tokenizer_counter(path) if path is not None else estimate_tokens
        self._refused: set[str] = set()
        self._given_up: dict[str, Problem] = {}

    def complete(
        self,
        messages: Messages,
        *,
        temperature: float,
        max_tokens: int,
        repeat: int = 0,
        attempt: int = 0,
        **more: Any,
    ) -> Response:
        """The response to these messages, from the store or from the endpoint.

        `more` are further parameters of the request. Raises `BudgetReachedError` before a call
        that could exceed the budget, `RequestRefusedError` for a request that has no answer, and
        `UserError` when the endpoint does not work.
        """
        asked = self.parameters(messages, temperature, max_tokens) | more
        request = self.request(asked, repeat, attempt)
        failures = 0
        while True:
            known = self.stored(request.key)
            if known is not None:
                return self._use(known)
            call = self._claim(request, self.refusal(request.key))
            if call is None:
                continue
            outcome = self._call(call, request, asked)
            if not isinstance(outcome, Problem):
                return self._use(outcome)
            if outcome.action is Action.FOLD_SYSTEM:
                continue
            failures += 1
            if failures > self.options.retries:
                self._given_up[request.key] = outcome
                raise RequestRefusedError(outcome.kind, outcome.reason, passing=True)
            wait = max(outcome.wait, backoff(failures, self.options.first_wait))
            logging.debug("call failed (%s), next try in %.1f s", outcome.kind, wait)
            self.stop.wait(wait)

    def close(self) -> None:
        """End the connections, and this process's part of the store."""
        self.client.close()
        self.store.close()

    def give_up(self) -> None:
        """Keep, at the end of a run that is good, that some requests failed whatever was tried.

        Not before: while an endpoint is away, every request fails so, and is to be made again.
        """
        for key, problem in self._given_up.items():
            if self.store.get(key) is None:
                self.store.declined("", key, problem.kind, problem.reason)
        self._given_up.clear()

    def parameters(self, messages: Messages, temperature: float, max_tokens: int) -> dict[str, Any]:
        """What decides a reply: clean messages, and the settings as the endpoint names them."""
        clean = [{**m, "content": _encodable(m["content"])} for m in messages]
        return {"messages": clean, **self.options.parameters(temperature, max_tokens)}

    def request(self, asked: dict[str, Any], repeat: int, attempt: int) -> Request:
        """The key, the size and the budget of a call with these parameters."""
        key = content_key(model=self.options.model, repeat=repeat, attempt=attempt, **asked)
        longest = asked.get("max_completion_tokens") or asked.get("max_tokens") or 0
        return Request(key, self._prompt_tokens(asked), int(longest), self.options.budget)

    def body(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The JSON body of a call with these parameters."""
        tier = self.options.service_tier
        body = {"model": self.options.model, "n": 1, **asked}
        body["messages"] = place_system(asked["messages"], self._system_role)
        return body if tier is None else {**body, "service_tier": tier}

    def stored(self, key: str) -> Outcome | None:
        """The outcome in the store, unless it is a refusal that is to be tried again."""
        outcome = self.store.get(key)
        if isinstance(outcome, Declined) and self.options.retry_refused:
            return outcome if key in self._refused else None
        return outcome

    def _use(self, outcome: Outcome) -> Response:
        if isinstance(outcome, Declined):
            raise RequestRefusedError(outcome.kind, outcome.reason)
        return outcome

    def refusal(self, key: str) -> Declined | None:
        """The refusal in the store that is to be tried again."""
        outcome = self.store.get(key) if self.options.retry_refused else None
        return outcome if isinstance(outcome, Declined) else None

    def _claim(self, request: Request, known: Declined | None) -> str | None:
        """The id of a call that may leave now, or None after a pause in which things change."""
        if self.stop.is_set():
            raise StoppedError
        call = self.store.claim(request, known)
        if call is None:
            self.store.wait(random.uniform(_LOOK_AGAIN / 2, _LOOK_AGAIN))
            return None
        self._pace.wait(self.stop)
        if self.stop.is_set():
            self.store.withdrawn(call)
            raise StoppedError
        return call

    def _call(self, call: str, request: Request, asked: dict[str, Any]) -> Outcome | Problem:
        """One request, its outcome noted in the store."""
        body = self.body(asked)
        try:
            answer = self.client.complete(body)
        except BaseException:
            self.store.lost(call, "interrupted")
            raise
        if isinstance(answer, Answer):
            return self.settle(call, request.key, asked, answer.body)
        if answer.action is Action.FOLD_SYSTEM and body["messages"][0]["role"] == "user":
            answer = replace(answer, action=Action.SKIP)
        return self.failed(call, request.key, answer)

    def patiently(self, ask: Callable[[], Answer | Problem]) -> Answer | Problem:
        """Make a request that costs nothing until it is answered or has failed on all tries."""
        for failures in range(1, self.options.retries + 1):
            outcome = ask()
            if isinstance(outcome, Answer) or outcome.action is not Action.RETRY:
                return outcome
            self.stop.wait(max(outcome.wait, backoff(failures, self.options.first_wait)))
        return ask()

    def settle(
        self, call: str, key: str, asked: dict[str, Any], body: str, price: float = 1.0
    ) -> Outcome | Problem:
        """Keep the reply of status 200 to a call; `price` is a share of the usual one."""
        raw, reply = read_reply(body)
        raw = self.client.redactor.value(raw)
        if isinstance(reply, Problem):
            return self.failed(call, key, reply)
        response = self._response(reply, asked, price)
        self.store.received(call, key, response, raw)
        return response

    def failed(self, call: str, key: str, problem: Problem) -> Outcome | Problem:
        """Note a failure in the store; the outcome, if that is one, else the problem itself."""
        problem = self.client.clean(problem)
        if problem.action is Action.SKIP:
            self._refused.add(key)
            return self.store.declined(call, key, problem.kind, problem.reason)
        (self.store.lost if problem.charged else self.store.refused)(call, problem.kind)
        if problem.action is Action.STOP:
            raise UserError(f"{self.options.base_url}: {problem.kind}: {problem.reason}")
        if problem.action is Action.FOLD_SYSTEM:
            self._system_role = "user"
        if problem.kind == "status 429":
            self._pace.pause(problem.wait)
        return problem

    def _response(self, reply: Reply, asked: dict[str, Any], price: float) -> Response:
        usage = reply.usage or self._estimate(reply, asked)
        text = self.client.redactor.text
        role = self._system_role if self._system_role != "system" else ""
        return Response(
            text=text(reply.text),
            model=text(reply.model) or self.options.model,
            finish=text(reply.finish) or self._unsaid_end(usage, asked),
            prompt_tokens=usage.prompt,
            completion_tokens=usage.output,
            usd=self.options.budget.price(usage.prompt, usage.output) * price,
            tstamp=time.time(),
            thoughts=text(reply.thoughts),
            refusal=text(reply.refusal),
            estimated=reply.usage is None,
            system_role=role,
            alternatives=reply.alternatives,
        )

    def _unsaid_end(self, usage: Usage, asked: dict[str, Any]) -> str:
        """Where a server names no end, a reply of all tokens that it may have was cut off."""
        longest = asked.get("max_completion_tokens") or asked.get("max_tokens")
        return "length" if longest and usage.output >= longest else ""

    def _estimate(self, reply: Reply, asked: dict[str, Any]) -> Usage:
        """Tokens where the server does not count them."""
        said = sum(self._count(text) for text in (reply.thoughts, reply.text, reply.refusal))
        return Usage(self._prompt_tokens(asked), said)

    def _prompt_tokens(self, asked: dict[str, Any]) -> int:
        texts = [m["content"] for m in asked["messages"]]
        return sum(self._count(text) + _TOKENS_PER_MESSAGE for text in texts)


def place_system(messages: Messages, role: SystemRole) -> Messages:
    """The messages with the system's text under this role; `user` puts it before the first turn."""
    if role == "system" or not messages or messages[0]["role"] != "system":
        return messages
    system, *turns = messages
    if role == "developer" or not turns:
        return [{"role": role, "content": system["content"]}, *turns]
    content = f"{system['content']}\n\n{turns[0]['content']}"
    return [{**turns[0], "content": content}, *turns[1:]]


def _encodable(text: str) -> str:
    """Half a surrogate pair, which JSON allows, cannot be sent."""
    return text.encode("utf-8", "replace").decode()
