"""Chat templates as text: FastChat's by name, a Jinja file, or a tokenizer's own.

A template is known by the markup that it puts around the messages, found by rendering marks in
their place. From the markup follow where a prompt ends and an answer begins, what ends a turn, and
whether the prompt of every turn is the beginning of the training text.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, ClassVar

from fusionchat.dialogues.jinja import BOS, EOS, render_jinja
from fusionchat.dialogues.messages import ROLES, Message, as_messages
from fusionchat.errors import UserError
from fusionchat.files import read_text

TOKENIZER = "tokenizer"  # the name of the template that a tokenizer brings along
JINJA_SUFFIX = ".jinja"
CHECKED_TURNS = 3
# What ends an answer: a token by its usual spelling, after white space that is learnt with it.
END = re.compile(rf"\s*(?P<token>{EOS}|<[^<>\s]+>)")


class RenderingError(UserError):
    """A template cannot render a conversation, or not in a way that a model could learn from."""


@dataclass(frozen=True)
class SpecialTokens:
    """The tokenizer's spelling of the tokens that markup holds.

    `end_of_turn` stands in place of the template's own end of turn; None keeps the template's.
    """

    bos: str = ""
    eos: str = ""
    end_of_turn: str | None = None


@dataclass(frozen=True)
class Rendered:
    """A rendered conversation. All places are characters of `text`.

    `starts`: of each response, where the prompt that asks for it ends. `stops`: where its end of
    turn ends, in a whole conversation; an empty answer has an empty response. `messages`: (start,
    stop) of the messages that are not empty.
    """

    text: str
    starts: tuple[int, ...] = ()
    stops: tuple[int, ...] = ()
    messages: tuple[tuple[int, int], ...] = ()


class Template(ABC):
    """How a conversation becomes text; a subclass renders messages as its library does."""

    name: str
    literals: ClassVar[Mapping[str, str]] = {}  # spelling in the markup to field of `SpecialTokens`

    @abstractmethod
    def raw(self, messages: Sequence[Message], open_turn: bool) -> str:
        """The text as the template spells it; `open_turn` ends in the assistant's header."""

    def stop_strings(self) -> list[str]:
        """Texts at which an answer is cut off."""
        return []

    def literal_stop_ids(self) -> frozenset[int]:
        """Ids that end an answer in the vocabulary that the template was written for."""
        return frozenset()

    @cached_property
    def end(self) -> str | None:
        """What stands behind every answer as its end of turn; None if there is no such token."""
        try:
            markup = _layout(self, _pattern(_probe(2, system=False)), False)
        except RenderingError:
            return None
        ends = {match and match["token"] for match in map(END.match, (markup[2], markup[4]))}
        return ends.pop() if len(ends) == 1 else None

    def spell(self, markup: str, tokens: SpecialTokens) -> str:
        """Markup with the tokenizer's special tokens in place of the template's."""
        spellings = {BOS: tokens.bos, EOS: tokens.eos}
        if tokens.end_of_turn is not None:
            spellings |= {text: getattr(tokens, role) for text, role in self.literals.items()}
            if self.end:
                spellings[self.end] = tokens.end_of_turn
        parts = sorted(map(re.escape, spellings), key=len, reverse=True)
        return re.sub("|".join(parts), lambda match: spellings[match[0]], markup)

    def refuse(self, reason: str) -> RenderingError:
        """The error that this template does not do."""
        return RenderingError(f"template {self.name}: {reason}")


@dataclass(frozen=True)
class FastChatTemplate(Template):
    """A conversation template of FastChat."""

    name: str
    literals: ClassVar[Mapping[str, str]] = {"<s>": "bos"}

    def raw(self, messages: Sequence[Message], open_turn: bool) -> str:
        """FastChat's own text."""
        conversation = self._conversation()
        for role, text in messages:
            if role == "system":
                conversation.set_system_message(text)
            else:
                conversation.append_message(conversation.roles[role == "assistant"], text)
        if open_turn:
            conversation.append_message(conversation.roles[1], None)
        try:
            return conversation.get_prompt()
        except (ValueError, TypeError, AttributeError) as error:
            raise self.refuse(f"FastChat cannot render it: {error}") from error

    def stop_strings(self) -> list[str]:
        """FastChat's stop strings."""
        stop = self._conversation().stop_str
        return [stop] if isinstance(stop, str) else list(stop or [])

    def literal_stop_ids(self) -> frozenset[int]:
        """FastChat's stop ids."""
        return frozenset(self._conversation().stop_token_ids or ())

    def _conversation(self) -> Any:
        from fastchat.conversation import get_conv_template

        try:
            return get_conv_template(self.name)
        except KeyError:
            raise RenderingError(
                f"template {self.name!r} is none of FastChat's; name one (openchat_3.5, zephyr, "
                "vicuna_v1.1, llama-2 ...), a Jinja file (NAME.jinja), or `tokenizer`"
            ) from None


@dataclass(frozen=True)
class JinjaTemplate(Template):
    """A chat template in Jinja, as tokenizers carry them; `source` is its text."""

    name: str
    source: str

    def raw(self, messages: Sequence[Message], open_turn: bool) -> str:
        """The text with marks for the tokens that the tokenizer names."""
        chat = [{"role": role, "content": text} for role, text in messages]
        try:
            return render_jinja(self.source, chat, open_turn)
        except Exception as error:  # whatever a template may run into
            reason = " ".join(str(error).split())
            raise self.refuse(f"it cannot render the conversation: {reason}") from error


def open_template(name: str) -> Template:
    """The template of a name that needs no tokenizer: FastChat's, or a Jinja file."""
    if not name.endswith(JINJA_SUFFIX):
        template = FastChatTemplate(name)
        template.stop_strings()  # an unknown name is told at once
        return template
    try:
        return JinjaTemplate(name, read_text(name))
    except (OSError, UserError) as error:
        raise RenderingError(f"template {name} cannot be read: {error}") from error


def check_template(template: Template, system: bool = False) -> None:
    """Refuse a template for training that loses or changes a message, teaches no end of turn, or
    whose prompts do not begin the training text; `system`: in conversations with a system message.
    """
    for turns in range(CHECKED_TURNS, 0, -1):
        render(template, _probe(turns, system), SpecialTokens())


def check_answering(template: Template, system: bool = False) -> None:
    """Refuse a template that cannot ask a question, with a system message if `system`."""
    said = as_messages(["What?"], "Be brief." if system else None)
    prompt = template.raw(said, open_turn=True)
    for role, text in said:
        if text not in prompt:
            raise template.refuse(_lost(role, system))


def render(
    template: Template,
    messages: Sequence[Message],
    tokens: SpecialTokens,
    open_turn: bool = False,
) -> Rendered:
    """Render a conversation, or with `open_turn` the prompt that asks for the next answer."""
    shown = iter(_shown(template, messages, open_turn))
    parts: list[str] = []
    length = 0
    cuts: dict[str, list[int]] = {"start": [], "stop": []}
    places: list[tuple[int, int]] = []
    for kind, markup in _steps(template, _pattern(messages), open_turn):
        if kind in cuts:
            cuts[kind].append(length)
            continue
        part = template.spell(markup, tokens) if kind == "markup" else next(shown)
        if kind == "message":
            places.append((length, length + len(part)))
        parts.append(part)
        length += len(part)
    return Rendered("".join(parts), tuple(cuts["start"]), tuple(cuts["stop"]), tuple(places))


def render_prompt(
    template: Template, messages: Sequence[Message], tokens: SpecialTokens
) -> Rendered:
    """The prompt that asks for the next answer, also of a template that nothing can learn from.

    Such a template, or one that changes a message, keeps its own special tokens.
    """
    try:
        return render(template, messages, tokens, open_turn=True)
    except RenderingError:
        text = template.raw(messages, open_turn=True)
        return Rendered(template.spell(text, replace(tokens, end_of_turn=None)))


# A conversation's pattern: role of each message, and whether it has a text.
Pattern = tuple[tuple[str, bool], ...]


def _pattern(messages: Sequence[Message]) -> Pattern:
    return tuple((role, bool(text)) for role, text in messages)


def _probe(turns: int, system: bool) -> list[Message]:
    """A conversation of paragraphs with white space around them."""
    texts = [f" {role}\n\nof {turn} \n" for turn in range(turns) for role in ROLES]
    return as_messages(texts, "Be brief." if system else None)


@cache
def _layout(template: Template, pattern: Pattern, open_turn: bool) -> tuple[str, ...]:
    """The markup before, between and behind the messages that have a text."""
    marks = [f"\ue000{index}\ue001" if filled else "" for index, (_, filled) in enumerate(pattern)]
    said = [Message(role, mark) for (role, _), mark in zip(pattern, marks, strict=True)]
    rest = template.raw(said, open_turn)
    markup = []
    for role, mark in said:
        if mark:
            before, marked, rest = rest.partition(mark)
            if not marked or mark in rest:
                raise template.refuse(_lost(role, with_system=said[0].role == "system"))
            markup.append(before)
    return (*markup, rest)


def _lost(role: str, with_system: bool) -> str:
    if role == "system":
        return "it has no place for a system message, or moves it"
    where = "with a system message, " if with_system else ""
    return f"{where}a message of the {role} is left out, repeated or moved"


@cache
def _steps(template: Template, pattern: Pattern, open_turn: bool) -> tuple[tuple[str, str], ...]:
    """How to write a conversation: ("markup", text), ("message", ""), and where an answer begins
    and its turn ends: ("start", ""), ("stop", "").
    """
    markup = _layout(template, pattern, open_turn)
    cuts: list[list[tuple[int, str]]] = [[] for _ in markup]
    for index, (role, filled) in enumerate(pattern):
        if role != "assistant":
            continue
        place, offset = _answer_begins(template, pattern[:index], markup)
        cuts[place].append((offset, "start"))
        if not open_turn and filled:
            cuts[place + 1].append((_turn_ends(template, markup[place + 1]), "stop"))
        elif not open_turn:
            cuts[place].append((offset, "stop"))
    steps: list[tuple[str, str]] = []
    for text, places in zip(markup, cuts, strict=True):
        done = 0
        for offset, kind in places:
            steps += [("markup", text[done:offset]), (kind, "")]
            done = offset
        steps += [("markup", text[done:]), ("message", "")]
    return tuple(steps[:-1])


def _answer_begins(template: Template, before: Pattern, markup: tuple[str, ...]) -> tuple[int, int]:
    """Which markup, and where in it, the prompt for an answer ends."""
    prompt = _layout(template, before, True)
    last = len(prompt) - 1
    if markup[:last] != prompt[:last] or not markup[last].startswith(prompt[last]):
        raise template.refuse(
            "the prompt of a turn is not the beginning of the training text, so a model would be "
            "asked in another form than it learnt; choose another template"
        )
    return last, len(prompt[last])


def _turn_ends(template: Template, markup: str) -> int:
    """Where in the markup behind an answer its turn has ended."""
    match = END.match(markup)
    if match is None or match["token"] != template.end:
        raise template.refuse(
            "no token ends an answer, so a model could not learn to stop; choose another template"
        )
    return match.end()


def _shown(template: Template, messages: Sequence[Message], open_turn: bool) -> list[str]:
    """The texts of the messages as the template shows them: some strip white space."""
    markup = _layout(template, _pattern(messages), open_turn)
    text = template.raw(messages, open_turn)
    filled = [message.text for message in messages if message.text]
    shown: list[str] = []
    at = len(markup[0])
    for said, behind in zip(filled, markup[1:], strict=True):
        for variant in (said, said.strip(), said.lstrip(), said.rstrip()):
            if text.startswith(variant + behind, at):
                break
        else:
            raise template.refuse(f"the message {said[:40]!r} is changed")
        shown.append(variant)
        at += len(variant) + len(behind)
    if at != len(text) or not text.startswith(markup[0]):
        raise template.refuse("the markup depends on the messages")
    return shown
