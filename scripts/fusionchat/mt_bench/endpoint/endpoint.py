"""Calls to an OpenAI-compatible endpoint: every response is stored, every failure accounted for."""

import logging
import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from fusionchat.errors import UserError
from fusionchat.mt_bench.endpoint.limits import FIRST_WAIT, Budget, Pace, backoff
from fusionchat.mt_bench.endpoint.parallel import StoppedError
from fusionchat.mt_bench.endpoint.store import Response, ResponseStore, content_key

Messages = list[dict[str, str]]
# A token has three bytes or more on average; enough to bound the price of a prompt.
BYTES_PER_TOKEN = 3
# What a model may think before it answers; thought tokens count, and are paid, as output.
THINKING_TOKENS = 16_384
# Words of a server that cannot take one prompt: it is too long, or a filter objects to it.
REFUSALS = ("context", "content_filter", "invalid_prompt")
# Shorter "keys" are placeholders for servers that need none, such as EMPTY; they occur in texts.
SHORTEST_KEY = 6


class RequestRefusedError(Exception):
    """The endpoint cannot answer this one request, e.g. because it exceeds the context."""


@dataclass(frozen=True)
class EndpointOptions:
    """Where a model is served and how to call it; the key is read from the environment."""

    base_url: str
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    timeout: float = 300.0
    retries: int = 8
    first_wait: float = FIRST_WAIT
    requests_per_minute: float | None = None
    reasoning: bool = False
    budget: Budget = field(default_factory=Budget)


class Endpoint:
    """A model behind an API, in front of a store; safe to use from many threads."""

    def __init__(self, options: EndpointOptions, store: ResponseStore) -> None:
        parts = urlsplit(options.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"base URL {options.base_url}: must be http://... or https://...")
        if parts.username or parts.password or parts.query:
            raise UserError("base URL: must hold no password or query; use the key's variable")
        self.options, self.store = options, store
        self.stop = threading.Event()
        self._key = os.environ.get(options.api_key_env, "")
        self._pace = Pace(options.requests_per_minute, store.folder / ".pace")
        self._client_lock = threading.Lock()
        self._client: Any = None

    def complete(
        self,
        messages: Messages,
        *,
        temperature: float,
        max_tokens: int,
        repeat: int = 0,
        attempt: int = 0,
    ) -> Response:
        """The response to these messages, from the store or from the endpoint.

        Raises `BudgetReachedError` before a call that could exceed the budget,
        `RequestRefusedError` for a request that does not fit, and `UserError` when the endpoint
        does not work.
        """
        asked = self._parameters(messages, temperature, max_tokens)
        key = content_key(model=self.options.model, repeat=repeat, attempt=attempt, **asked)
        stored = self.store.get(key)
        if stored is not None:
            return stored
        for failures in range(1, self.options.retries + 2):
            self._pace.wait(self.stop)
            if self.stop.is_set():
                raise StoppedError
            response, problem, wait = self._call(key, asked)
            if response is not None:
                return response
            if failures <= self.options.retries:
                wait = max(wait, backoff(failures, self.options.first_wait))
                logging.debug("call failed (%s), next try in %.1f s", problem, wait)
                self.stop.wait(wait)
        raise UserError(
            f"{self.options.base_url}: {self.options.retries + 1} calls in a row failed, the last "
            f"with: {problem}. What arrived is stored; run again when the endpoint works"
        )

    def _parameters(
        self, messages: Messages, temperature: float, max_tokens: int
    ) -> dict[str, Any]:
        """What decides a reply, as the endpoint names it; reasoning models take no temperature."""
        if self.options.reasoning:
            return {"messages": messages, "max_completion_tokens": max_tokens + THINKING_TOKENS}
        return {"messages": messages, "temperature": temperature, "max_tokens": max_tokens}

    def _call(self, key: str, asked: dict[str, Any]) -> tuple[Response | None, str, float]:
        """One request: (response or None, what went wrong, seconds the server asks to wait)."""
        import openai

        client = self._connect()
        call = self._open_call(key, asked)
        try:
            reply = client.chat.completions.create(model=self.options.model, n=1, **asked)
            response = self._read(reply)
        except openai.APIStatusError as error:
            return self._status_problem(call, error)
        except openai.APIConnectionError as error:
            never_sent = "ConnectError" in type(error.__cause__).__name__
            (self.store.refused if never_sent else self.store.lost)(call, type(error).__name__)
            return None, self._redact(f"{type(error).__name__}: {error.__cause__}"), 0.0
        except (openai.OpenAIError, ValueError, LookupError, TypeError, AttributeError) as error:
            # A body that is not the JSON of a completion: the work was done, but is of no use.
            self.store.lost(call, f"malformed: {type(error).__name__}")
            return None, f"malformed response ({type(error).__name__})", 0.0
        except BaseException:
            self.store.lost(call, "interrupted")
            raise
        self.store.received(call, key, response)
        return response, "", 0.0

    def _open_call(self, key: str, asked: dict[str, Any]) -> str:
        """Check the budget and note the call in one step, so that nobody else can overdraw it."""
        budget = self.options.budget
        size = sum(len(m["content"].encode("utf-8", "replace")) for m in asked["messages"])
        longest = asked.get("max_completion_tokens") or asked["max_tokens"]
        at_most = budget.price(size / BYTES_PER_TOKEN, longest)
        with self.store.exclusive():
            self.store.refresh()
            account = self.store.account()
            budget.check(account.calls, account.usd, at_most)
            return self.store.sent(key, at_most)

    def _read(self, reply: Any) -> Response:
        choice = reply.choices[0]
        usage = getattr(reply, "usage", None)
        prompt_tokens = int(getattr(usage, "prompt_tokens", 0) or 0)
        completion_tokens = int(getattr(usage, "completion_tokens", 0) or 0)
        return Response(
            text=self._redact(choice.message.content or ""),
            model=str(reply.model or self.options.model),
            finish=str(choice.finish_reason or ""),
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            usd=self.options.budget.price(prompt_tokens, completion_tokens),
            tstamp=time.time(),
        )

    def _status_problem(self, call: str, error: Any) -> tuple[None, str, float]:
        status, message = error.status_code, self._redact(str(error.message))
        self.store.refused(call, f"status {status}")
        out_of_quota = "insufficient_quota" in (error.code or "", error.type or "")
        if status >= 500 or (status in (408, 409, 429) and not out_of_quota):
            wait = _retry_after(error.response.headers)
            if status == 429:
                self._pace.pause(wait)
            return None, f"status {status}", wait
        said = f"{error.code} {error.type} {message}".lower()
        if status in (400, 413, 422) and any(word in said for word in REFUSALS):
            raise RequestRefusedError(message)
        raise UserError(f"{self.options.base_url}: status {status}: {message}")

    def _connect(self) -> Any:
        """The client, made at the first call that is not in the store."""
        with self._client_lock:
            if self._client is None:
                self._client = self._new_client()
            return self._client

    def _new_client(self) -> Any:
        import openai

        local = urlsplit(self.options.base_url).hostname in ("localhost", "127.0.0.1", "::1")
        if not self._key and not local:
            raise UserError(
                f"{self.options.base_url}: no key; set the environment variable "
                f"{self.options.api_key_env}, or use a store that holds all responses"
            )
        for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2"):
            logging.getLogger(name).setLevel(logging.WARNING)
        return openai.OpenAI(
            base_url=self.options.base_url,
            api_key=self._key or "none",
            timeout=self.options.timeout,
            max_retries=0,
            # A site's proxy cannot reach this machine's own servers.
            http_client=openai.DefaultHttpxClient(trust_env=False) if local else None,
        )

    def _redact(self, text: str) -> str:
        # Half a surrogate pair, which JSON allows, cannot be written to a file.
        text = text.encode("utf-8", "replace").decode()
        return text.replace(self._key, "[key]") if len(self._key) >= SHORTEST_KEY else text


def _retry_after(headers: Any) -> float:
    try:
        return min(300.0, max(0.0, float(headers.get("retry-after", 0))))
    except ValueError:
        return 0.0
