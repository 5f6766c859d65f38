"""One HTTP request to an endpoint: a deadline for all of it, and no secret in what comes out."""

import asyncio
import logging
import threading
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

from fusionchat.errors import UserError
from fusionchat.mt_bench.endpoint.problems import LONGEST_REASON, Action, Problem, status_problem
from fusionchat.mt_bench.endpoint.secrets import Redactor, proxy_passwords, read_headers, read_key
from fusionchat.mt_bench.endpoint.settings import EndpointOptions

Result = TypeVar("Result")
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Answer:
    """A reply's body, as it came."""

    body: str


class Client:
    """The OpenAI client in front of an address; made, with the key checked, at the first call."""

    def __init__(self, options: EndpointOptions) -> None:
        self.options = options
        self._key = read_key(options.api_key_env)
        self._headers = read_headers(options.headers)
        self.redactor = Redactor([self._key, *self._headers.values(), *proxy_passwords()])
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._openai: Any = None

    def complete(self, body: Mapping[str, Any]) -> Answer | Problem:
        """Post a chat completion; whatever happens becomes a `Problem`, never an exception."""
        return self.request("POST", "/chat/completions", body=dict(body))

    def request(self, method: str, path: str, **sent: Any) -> Answer | Problem:
        """One request below the base URL, within the timeout from the first byte to the last."""
        try:
            outcome = self._run(self._request(method, path, sent))
        except UserError:
            raise
        except Exception as error:  # a library's error may quote headers, and the key with them
            raise UserError(
                f"{self.options.base_url}: the request cannot be made: "
                f"{self.redactor.text(f'{type(error).__name__}: {error}')}"
            ) from None
        return self.clean(outcome) if isinstance(outcome, Problem) else outcome

    def clean(self, problem: Problem) -> Problem:
        """The problem without secrets in its reason, which is cut only then: half a key is one."""
        return replace(problem, reason=self.redactor.text(problem.reason)[:LONGEST_REASON])

    async def _request(self, method: str, path: str, sent: dict[str, Any]) -> Answer | Problem:
        import openai

        client = self._connect()
        try:
            async with asyncio.timeout(self.options.timeout):
                call = client.get if method == "GET" else client.post
                reply = await call(path, cast_to=self._response_type(), **sent)
                return Answer(reply.text)
        except openai.APIStatusError as error:
            return status_problem(error.status_code, error.response.headers, error.response.text)
        except (TimeoutError, openai.APITimeoutError):
            return Problem(Action.RETRY, "timeout", "no whole reply in time", charged=True)
        except openai.APIConnectionError as error:
            cause = f"{type(error.__cause__).__name__}: {error.__cause__}"
            sent_nothing = "ConnectError" in cause or "ConnectTimeout" in cause
            return Problem(Action.RETRY, "no connection", cause, charged=not sent_nothing)

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run in the client's own thread, where deadlines can end what hangs."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
                self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """End the connections and the thread that holds them; a later request opens new ones."""
        with self._lock:
            loop, thread, client = self._loop, self._thread, self._openai
            self._loop = self._thread = self._openai = None
        if loop is None or thread is None:
            return
        if client is not None:
            asyncio.run_coroutine_threadsafe(client.close(), loop).result(self.options.timeout)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def _response_type(self) -> Any:
        import httpx2

        return httpx2.Response

    def _connect(self) -> Any:
        if self._openai is None:
            self._openai = self._new_client()
        return self._openai

    def _new_client(self) -> Any:
        import openai

        options = self.options
        local = urlsplit(options.base_url).hostname in _LOCAL
        if not (self._key or self._headers or local):
            raise UserError(
                f"{options.base_url}: no key; set the environment variable "
                f"{options.api_key_env}, or use a store that holds all responses"
            )
        for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2", "asyncio"):
            logging.getLogger(name).setLevel(logging.WARNING)
        return openai.AsyncOpenAI(
            base_url=options.base_url,
            api_key=self._key or "none",
            timeout=options.timeout,
            max_retries=0,
            default_headers=self._headers,
            default_query={"api-version": options.api_version} if options.api_version else None,
            # A site's proxy cannot reach this machine's own servers, and a redirection would carry
            # headers with keys elsewhere.
            http_client=openai.DefaultAsyncHttpxClient(trust_env=not local, follow_redirects=False),
        )
