"""A chat completion's body in any provider's form, read into one."""

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

from fusionchat.mt_bench.endpoint.problems import Action, Problem, error_problem, one_line
from fusionchat.mt_bench.thoughts import split_thoughts

# Names that services give to a reply which was cut off, and to one that a filter ended.
CUT_OFF = frozenset(
    {"length", "max_tokens", "max_output_tokens", "max_length", "model_length", "token_limit"}
    | {"incomplete", "truncated", "model_context_window_exceeded"}
)
FILTERED = frozenset(
    {"content_filter", "content_filtered", "safety", "image_safety", "recitation", "blocklist"}
    | {"prohibited_content", "spii", "sensitive", "refusal", "guardrail_intervened"}
)
_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking", "thoughts")
_MOST_TOKENS = 1 << 40
_BEFORE_JSON = re.compile(r"\A\ufeff?(\s*:[^\n]*\n)*")


@dataclass(frozen=True)
class Usage:
    """Tokens as the server counts them; `output` holds what the model thought, too."""

    prompt: int
    output: int
    reasoning: int = 0


@dataclass(frozen=True)
class Reply:
    """What a model said, with why it ended and the server's name of the model.

    `alternatives` are the log-probabilities of what its first token could have been, where a
    request asked for them.
    """

    text: str
    thoughts: str
    refusal: str
    finish: str
    model: str
    usage: Usage | None
    alternatives: dict[str, float] = field(default_factory=dict)


def read_reply(body: str) -> tuple[Any, Reply | Problem]:
    """A body of status 200 as (its JSON value, the reply or what is wrong with it).

    A byte order mark, and comments by which a server keeps the connection alive, are no part of it.
    """
    try:
        value = json.loads(_BEFORE_JSON.sub("", body))
    except (ValueError, RecursionError):
        value = read_stream(body)
    if value is None:
        return None, _unusable("malformed reply", f"the reply is not JSON: {one_line(body)}")
    if not isinstance(value, dict):
        return value, _unusable("malformed reply", "the reply is not a JSON object")
    return value, _reply(value)


def read_stream(body: str) -> dict[str, Any] | None:
    """A reply in server-sent events, which nobody asked for, as if it had come whole.

    None for a body that is no such stream, or whose end is missing.
    """
    lines = (line.removeprefix("data:").strip() for line in body.split("\n") if line[:5] == "data:")
    whole: dict[str, Any] = {}
    choice: dict[str, Any] = {}
    message: dict[str, Any] = {}
    try:
        for event in [json.loads(line) for line in lines if line and line != "[DONE]"]:
            whole |= {name: value for name, value in event.items() if value is not None}
            for part in (event.get("choices") or ())[:1]:
                choice |= {name: value for name, value in part.items() if value is not None}
                for name, value in (part.get("delta") or part.get("message") or {}).items():
                    if isinstance(value, str):
                        value = (message.get(name) or "") + value
                    message[name] = message.get(name) if value is None else value
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    if _is_error(whole.get("error")):
        return whole
    if not choice.get("finish_reason"):
        return None
    return whole | {"choices": [{**choice, "message": message}]}


def _reply(value: dict[str, Any]) -> Reply | Problem:
    if _is_error(value.get("error")):
        return error_problem(value["error"])
    choices = value.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        choice = choices[0]
        if _is_error(choice.get("error")):
            return error_problem(choice["error"])
        return _choice(value, choice)
    if blocked := _block_reason(value):
        return Problem(Action.SKIP, "blocked", blocked)
    problem = error_problem({n: v for n, v in value.items() if n not in ("choices", "usage")})
    if problem.action is not Action.RETRY:
        return problem
    return _unusable("no choices", f"the reply holds no choices: {problem.reason}")


def _is_error(error: Any) -> bool:
    """Some services send an error with every reply, and nothing in it where there is none."""
    return any(error.values()) if isinstance(error, dict) else bool(error)


def _choice(value: dict[str, Any], choice: dict[str, Any]) -> Reply | Problem:
    message = choice.get("message")
    message = message if isinstance(message, dict) else {"content": choice.get("text")}
    try:
        text, thoughts, refusal = _content(message.get("content"))
    except TypeError:
        return _unusable("malformed reply", "the content is no text")
    finish = str(choice.get("finish_reason") or "").lower().replace("-", "_")
    if finish == "error":
        return _unusable("error", "the reply ended with an error")
    inline, text = split_thoughts(text)
    separate = next((message[f] for f in _THOUGHT_FIELDS if isinstance(message.get(f), str)), "")
    if isinstance(message.get("refusal"), str):
        refusal = refusal or message["refusal"]
    if message.get("content") is None and not (separate or refusal or finish):
        return _unusable("no content", "the reply holds no content")
    return Reply(
        text=text,
        thoughts="\n\n".join(filter(None, [separate.strip(), thoughts.strip(), inline])),
        refusal=refusal,
        finish=finish,
        model=value["model"] if isinstance(value.get("model"), str) else "",
        usage=read_usage(value.get("usage")),
        alternatives=_alternatives(choice.get("logprobs")),
    )


def _alternatives(logprobs: Any) -> dict[str, float]:
    """Log-probabilities of the first token's alternatives; empty where there are none."""
    try:
        listed = logprobs["content"][0]["top_logprobs"]
        known = {str(one["token"]): float(one["logprob"]) for one in listed}
    except (LookupError, TypeError, ValueError):
        return {}
    return {token: value for token, value in known.items() if math.isfinite(value)}


def _content(content: Any) -> tuple[str, str, str]:
    """(text, thoughts, refusal) of a content that is a text, nothing, or a list of parts."""
    if content is None or isinstance(content, str):
        return content or "", "", ""
    texts: dict[str, list[str]] = {"text": [], "thinking": [], "refusal": []}
    for part in content if isinstance(content, list) else [content]:
        part = {"type": "text", "text": part} if isinstance(part, str) else part
        if not isinstance(part, dict):
            raise TypeError
        kind = str(part.get("type", "text"))
        if kind in ("thinking", "reasoning", "thought") or part.get("thought") is True:
            texts["thinking"].append(_part_text(part, ("thinking", "reasoning", "text", "summary")))
        elif kind == "refusal":
            texts["refusal"].append(_part_text(part, ("refusal", "text")))
        elif kind in ("text", "output_text"):
            texts["text"].append(_part_text(part, ("text", "content")))
    return "".join(texts["text"]), "\n".join(texts["thinking"]), "".join(texts["refusal"])


def _part_text(part: dict[str, Any], names: tuple[str, ...]) -> str:
    """The text of a part, which may be parts again."""
    inner = next((part[name] for name in names if part.get(name)), "")
    if isinstance(inner, str):
        return inner
    if isinstance(inner, dict):
        inner = [inner]
    if not isinstance(inner, list):
        raise TypeError
    return "".join(
        _part_text(p, ("text", "thinking")) if isinstance(p, dict) else str(p) for p in inner
    )


def _block_reason(value: dict[str, Any]) -> str:
    """Why a prompt was blocked, where a reply without choices says so."""
    for name in ("prompt_feedback", "promptFeedback", "prompt_filter_results", "blockReason"):
        if value.get(name):
            return f"{name}: {json.dumps(value[name], ensure_ascii=False)}"
    return ""


def read_usage(usage: Any) -> Usage | None:
    """The counts of a reply, or None where they are missing or no counts.

    Some services leave thoughts out of the completion's tokens; the total tells.
    """
    if not isinstance(usage, dict):
        return None
    prompt = _count(usage, "prompt_tokens", "input_tokens")
    output = _count(usage, "completion_tokens", "output_tokens")
    if prompt is None or output is None or not prompt + output:
        return None
    details = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    places = [details, usage] if isinstance(details, dict) else [usage]
    reasoning = max(_count(place, "reasoning_tokens", "thinking_tokens") or 0 for place in places)
    total = _count(usage, "total_tokens") or 0
    left_out = reasoning if reasoning > output else 0
    return Usage(prompt, max(output + left_out, total - prompt), reasoning)


def _count(usage: dict[str, Any], *names: str) -> int | None:
    for name in names:
        value = usage.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return int(value) if 0 <= value < _MOST_TOKENS else None
    return None


def _unusable(kind: str, reason: str) -> Problem:
    return Problem(Action.RETRY, kind, reason, charged=True)
