"""What an endpoint's failures mean: for one prompt, for the moment, or for the whole run.

Services say the same in many words and places. Here they become one `Problem`: its kind, its
reason, and what is to be done about it.
"""

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

LONGEST_RETRY_AFTER = 300.0
LONGEST_REASON = 500


class Action(Enum):
    """What follows from a problem."""

    RETRY = "ask again after a pause"
    SKIP = "go on without this prompt"
    FOLD_SYSTEM = "ask again with the system's text in the user's turn"
    STOP = "end the run"


@dataclass(frozen=True)
class Problem:
    """A call without a usable reply.

    `kind` groups similar problems, `wait` is what the server asks for (seconds), and `charged` says
    that the work may have been done, and is paid for, all the same.
    """

    action: Action
    kind: str
    reason: str
    wait: float = 0.0
    charged: bool = False


# Statuses that say something about the account or the address, whatever the prompt.
_STOPPING = {301, 302, 303, 307, 308, 401, 402, 404, 405, 410}
_PASSING = {408, 409, 425, 429}
_QUOTA = re.compile(r"insufficient_quota|exceeded your current quota|billing_hard_limit", re.I)
_TOO_LONG = re.compile(
    r"context.?(length|window|size)|(prompt|input|request|message)s?( is| are)? too (long|large)"
    r"|too many (input )?tokens|maximum (context|prompt|input)|request too large|prompt_too_long"
    r"|reduce (the|your) (length|prompt)|exceeds? .{0,40}(tokens|context|length)",
    re.I,
)
_TOO_LARGE = re.compile(r"request too large|prompt.{0,10}too long|context.?length", re.I)
_BLOCKED = re.compile(
    r"content.?(filter|management|policy|moderation)|moderation|flagged|safety|blocked"
    r"|prohibited|inappropriate|sensitive|invalid_prompt|usage polic|data_inspection_failed",
    re.I,
)
_NO_SYSTEM_ROLE = re.compile(
    r"system.{0,20}role.{0,40}not.{0,20}support"
    r"|not support.{0,30}['\"`]?system['\"`]? ?(role|message|with|prompt|instruction)"
    r"|(developer|system) instruction is not enabled|only user (and|or) assistant roles"
    r"|roles must alternate|unsupported.{0,30}role.{0,20}system",
    re.I,
)
_BUSY = re.compile(
    r"rate.?limit|overload|too many requests|temporar|try again|unavailable|time.?out|server_error"
    r"|internal",
    re.I,
)


def status_problem(status: int, headers: Mapping[str, str], body: str) -> Problem:
    """What a reply means whose status is not 200."""
    return _classify(status, *_said(body), retry_after(headers))


def error_problem(error: Any) -> Problem:
    """What an `error` in a reply of status 200 means."""
    reason, words = _describe(error)
    code = str(error.get("code", error.get("status"))) if isinstance(error, dict) else ""
    status = int(code) if re.fullmatch(r"[45]\d\d", code, re.ASCII) else 0
    return _classify(status, reason, words, 0.0)


def _classify(status: int, reason: str, words: str, wait: float) -> Problem:
    kind = f"status {status}" if status else "error"
    if _NO_SYSTEM_ROLE.search(words):
        return Problem(Action.FOLD_SYSTEM, "no system role", reason)
    if _QUOTA.search(words) or status in _STOPPING:
        return Problem(Action.STOP, kind, reason)
    # A limit of tokens a minute passes; the same words otherwise say that the prompt does not fit.
    if (_TOO_LARGE if status in _PASSING else _TOO_LONG).search(words):
        return Problem(Action.SKIP, "too long", reason)
    if _BLOCKED.search(words) and status not in _PASSING:
        return Problem(Action.SKIP, "blocked", reason)
    if status >= 500 or status in _PASSING or (not status and _BUSY.search(words)):
        return Problem(Action.RETRY, kind, reason, wait)
    if status:
        return Problem(Action.SKIP, kind, reason)
    return Problem(Action.RETRY, kind, reason, charged=True)


def _said(body: str) -> tuple[str, str]:
    """The message in an error's body, and all its words to search in."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return one_line(body), body
    if isinstance(value, list) and value:
        value = value[0]
    error = value
    if isinstance(value, dict):
        error = next((value[name] for name in ("error", "detail") if value.get(name)), value)
    return _describe(error)[0], body


def _describe(error: Any) -> tuple[str, str]:
    """The message of an error however it is given, and all its words."""
    words = error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)
    if isinstance(error, dict):
        for name in ("message", "msg", "error_msg", "detail", "error", "metadata"):
            if isinstance(error.get(name), str) and error[name]:
                return one_line(error[name]), words
    return one_line(words), words


def one_line(text: str) -> str:
    """A text, or what a page of HTML says, in one line."""
    return " ".join(re.sub(r"<[^<>]*>", " ", text).split())


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to wait: retry-after-ms, or Retry-After in seconds or as a date.

    A date is compared with the server's own, so that a clock which is wrong does not matter.
    """
    wait = _number(headers.get("retry-after-ms"), 1e-3)
    if wait is None:
        wait = _number(headers.get("retry-after"), 1.0)
    if wait is None:
        until, now = _date(headers.get("retry-after")), _date(headers.get("date"))
        wait = until - (time.time() if now is None else now) if until is not None else 0.0
    return min(LONGEST_RETRY_AFTER, max(0.0, wait))


def _number(text: str | None, scale: float) -> float | None:
    try:
        value = float(text or "") * scale
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _date(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
