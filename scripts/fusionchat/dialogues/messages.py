"""Messages with roles, in the forms that templates and endpoints take."""

from collections.abc import Iterable
from typing import NamedTuple

ROLES = ("user", "assistant")


class Message(NamedTuple):
    """One message; `role` is system, user or assistant."""

    role: str
    text: str


def as_messages(texts: Iterable[str], system: str | None = None) -> list[Message]:
    """Messages of user, assistant, user, ... in turn, behind the system's if there is one."""
    said = [Message(ROLES[index % 2], text) for index, text in enumerate(texts)]
    return said if system is None else [Message("system", system), *said]


def chat_messages(system: str | None, texts: Iterable[str]) -> list[dict[str, str]]:
    """The same in the form of OpenAI's API; an empty system message is none."""
    said = as_messages(texts, system or None)
    return [{"role": role, "content": text} for role, text in said]
