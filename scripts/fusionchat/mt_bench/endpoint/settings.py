"""What a program must know to call an endpoint, checked before the first call."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from fusionchat.errors import UserError
from fusionchat.mt_bench.endpoint.limits import FIRST_WAIT, Budget
from fusionchat.mt_bench.endpoint.secrets import check_base_url, check_body

SystemRole = Literal["system", "developer", "user"]
SYSTEM_ROLES: tuple[SystemRole, ...] = get_args(SystemRole)
# What a model may think before it answers; thought tokens count, and are paid, as output.
THINKING_TOKENS = 16_384
# Parts of a request that this package decides; another value would mean another judgment.
_FIXED = (
    "messages",
    "model",
    "n",
    "stream",
    "reasoning_effort",
    "service_tier",
    "chat_template_kwargs",
)


@dataclass(frozen=True)
class EndpointOptions:
    """Where a model is served and how to call it; keys are read from the environment.

    `headers` may name variables ($NAME). `extra_body` is added to every request; `system_role` says
    where the system's text goes; `tokenizer` counts tokens where the server does not.
    """

    base_url: str = ""
    model: str = ""
    api_key_env: str = "OPENAI_API_KEY"
    timeout: float = 300.0
    retries: int = 8
    first_wait: float = FIRST_WAIT
    requests_per_minute: float | None = None
    reasoning: bool = False
    budget: Budget = field(default_factory=Budget)
    headers: Mapping[str, str] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    api_version: str | None = None
    reasoning_effort: str | None = None
    max_completion_tokens: int | None = None
    service_tier: str | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    system_role: SystemRole = "system"
    tokenizer: Path | None = None
    retry_refused: bool = False

    def __post_init__(self) -> None:
        """Refuse what can never work, before anything is paid for."""
        if self.base_url:
            check_base_url(self.base_url)
        check_body(self.extra_body)
        check_body(self.chat_template_kwargs, "chat_template_kwargs")
        if taken := [name for name in _FIXED if name in self.extra_body]:
            raise UserError(
                f"extra_body: {taken[0]} cannot be set here; it is set by its own option"
            )

    def parameters(self, temperature: float, max_tokens: int) -> dict[str, Any]:
        """What decides a reply besides the messages, as the endpoint names it.

        Reasoning models take no temperature and get room to think.
        """
        asked: dict[str, Any] = {} if self.reasoning else {"temperature": temperature}
        if self.max_completion_tokens is not None:
            asked["max_completion_tokens"] = self.max_completion_tokens
        elif self.reasoning:
            asked["max_completion_tokens"] = max_tokens + THINKING_TOKENS
        else:
            asked["max_tokens"] = max_tokens
        if self.reasoning_effort is not None:
            asked["reasoning_effort"] = self.reasoning_effort
        if self.chat_template_kwargs:
            asked["chat_template_kwargs"] = dict(self.chat_template_kwargs)
        return asked | dict(self.extra_body)
