"""Conversations in the formats that people have: messages of several spellings, Alpaca's records.

`ValueError` says what is wrong with a record.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

USER, ASSISTANT, SYSTEM = "human", "gpt", "system"  # as the released mixture spells them
SPEAKERS = {
    **dict.fromkeys((USER, "user"), USER),
    **dict.fromkeys((ASSISTANT, "assistant", "chatgpt", "model"), ASSISTANT),
    **dict.fromkeys((SYSTEM, "developer"), SYSTEM),
}
TOOLS = ("tool", "function", "function_call", "function_response", "observation", "ipython")

Turns = tuple[tuple[str, str], ...]


class Conversation(NamedTuple):
    """A system message if there is one, and (user, assistant) pairs of text.

    `unasked`, `unanswered`: an answer at the beginning or a question at the end was left out.
    """

    system: str | None
    turns: Turns
    unasked: bool = False
    unanswered: bool = False


def parse_record(record: Any) -> tuple[str, Conversation]:
    """The name of a record's format, and its conversation."""
    if not isinstance(record, dict):
        raise ValueError("it is not an object")
    if record.get("tools"):
        raise ValueError("it has `tools`; dialogues with tools are not supported")
    for key in ("conversations", "messages"):
        if record.get(key) is not None:
            conversation = parse_conversations(record[key], _system(record))
            first = record[key][0]
            return ("sharegpt" if "from" in first else "messages"), conversation
    if record.get("instruction") is not None and record.get("output") is not None:
        return "alpaca", parse_conversations(_alpaca(record), _system(record))
    raise ValueError("it has neither `conversations`, `messages`, nor `instruction` and `output`")


def parse_conversations(messages: Any, system: str | None = None) -> Conversation:
    """Messages (`from` and `value`, or `role` and `content`) as (user, assistant) pairs.

    A leading assistant message and a trailing user message are left out, as in the authors' code.
    Anything else that does not alternate, and a conversation without any text of the assistant,
    raises `ValueError`.
    """
    if not isinstance(messages, (list, tuple)) or not messages:
        raise ValueError("the conversation is not a list of messages")
    said = [_message(position, message) for position, message in enumerate(messages)]
    if said[0][0] == SYSTEM:
        system = said.pop(0)[1] or system
    if any(speaker == SYSTEM for speaker, _ in said):
        raise ValueError("a system message stands behind the first message")
    unasked = bool(said) and said[0][0] == ASSISTANT
    unanswered = bool(said) and said[-1][0] == USER
    said = said[int(unasked) : len(said) - int(unanswered)]
    if not said:
        raise ValueError("there is no user message followed by an assistant message")
    speakers, texts = zip(*said, strict=True)
    if speakers != (USER, ASSISTANT) * (len(speakers) // 2):
        raise ValueError("user and assistant messages do not alternate")
    if not any(texts[1::2]):
        raise ValueError("all assistant messages are empty")
    turns = tuple(zip(texts[::2], texts[1::2], strict=True))
    return Conversation(system, turns, unasked, unanswered)


def _message(position: int, message: Any) -> tuple[str, str]:
    """Speaker and text of one message."""
    for speaker_key, text_key in (("from", "value"), ("role", "content")):
        if isinstance(message, dict) and {speaker_key, text_key} <= message.keys():
            break
    else:
        raise ValueError(f"message {position} lacks `from` and `value`, or `role` and `content`")
    name = message[speaker_key]
    if name in TOOLS or message.get("tool_calls"):
        raise ValueError(f"message {position} is a turn of a tool ({name}), which is not supported")
    if name not in SPEAKERS:
        raise ValueError(f"message {position} is from {name!r}, not user, assistant or system")
    return SPEAKERS[name], _text(message[text_key], f"message {position}", text_key)


def _text(content: Any, where: str, key: str) -> str:
    """The text of a message; parts that are all text are joined."""
    if isinstance(content, list) and content:
        kinds = {part.get("type") if isinstance(part, dict) else None for part in content}
        if kinds == {"text"}:
            content = "".join(str(part.get("text")) for part in content)
    if not isinstance(content, str):
        raise ValueError(f"{where} has a `{key}` that is not text")
    return content


def _system(record: dict[str, Any]) -> str | None:
    """A system message beside the conversation."""
    system = record.get("system", record.get("system_prompt"))
    if system is not None and not isinstance(system, str):
        raise ValueError("its `system` is not text")
    return system or None


def _alpaca(record: dict[str, Any]) -> Sequence[dict[str, str]]:
    """Alpaca's instruction and output, with earlier turns in `history`, as messages."""
    history = record.get("history") or []
    if not all(isinstance(turn, (list, tuple)) and len(turn) == 2 for turn in history):
        raise ValueError("its `history` is not a list of pairs")
    asked = "\n\n".join(
        _text(record[key], "it", key) for key in ("instruction", "input") if record.get(key)
    )
    texts = [text for turn in history for text in turn] + [asked, record["output"]]
    names = (USER, ASSISTANT)
    return [{"from": names[i % 2], "value": text} for i, text in enumerate(texts)]
