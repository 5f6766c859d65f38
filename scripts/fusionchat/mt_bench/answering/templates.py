"""How a conversation becomes a prompt: a FastChat template, or the tokenizer's own."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from fusionchat.errors import UserError

OWN_TEMPLATE = "tokenizer"
# What ends a turn inside a template's separators, e.g. "</s>", "<|end_of_turn|>", "<|im_end|>".
END_OF_TURN = re.compile(r"</s>|<\|[^|]*\|>")


@dataclasses.dataclass(frozen=True)
class ChatTemplate:
    """Renders prompts, and says where an answer that was generated after one ends.

    `end_of_turn` replaces the end-of-turn token in the template's separators (None keeps them):
    every model is prompted in the pivot's format with its own token, as it was trained
    (paper section 4.1). `system_message` replaces the template's (None keeps it).
    """

    name: str
    end_of_turn: str | None = None
    system_message: str | None = None

    def render(self, messages: Sequence[str]) -> str:
        """The prompt for messages user, assistant, user, ...: the assistant's turn is left open."""
        conversation = self._conversation()
        for index, message in enumerate(messages):
            conversation.append_message(conversation.roles[index % 2], message)
        if len(messages) % 2:
            conversation.append_message(conversation.roles[1], None)
        return conversation.get_prompt()

    def encode(self, tokenizer: Any, prompt: str) -> list[int]:
        """Token ids of a rendered prompt, begin-of-text first if there is one, as in training."""
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        bos = tokenizer.bos_token_id
        return ids if bos is None or ids[:1] == [bos] else [bos, *ids]

    def stop_strings(self) -> list[str]:
        """Texts at which the template cuts an answer."""
        stop = self._conversation().stop_str
        return [stop] if isinstance(stop, str) else list(stop or [])

    def stop_token_ids(self, tokenizer: Any) -> set[int]:
        """Ids that end an answer: the tokenizer's end of sequence, the template's end of turn."""
        conversation = self._conversation()
        ids = {tokenizer.eos_token_id}
        known = END_OF_TURN.findall(conversation.sep + (conversation.sep2 or ""))
        ids.update(_single_token(tokenizer, text) for text in known)
        original = _fastchat_template(self.name)
        own = END_OF_TURN.findall(original.sep + (original.sep2 or ""))
        # FastChat's literal ids hold for the vocabulary that the template was written for only.
        if conversation.stop_token_ids and any(_single_token(tokenizer, t) for t in own):
            ids.update(i for i in conversation.stop_token_ids if i < len(tokenizer))
        return {i for i in ids if i is not None}

    def _conversation(self) -> Any:
        conversation = _fastchat_template(self.name)
        if self.system_message is not None:
            conversation.set_system_message(self.system_message)
        if self.end_of_turn is not None:
            for field in ("sep", "sep2"):
                text = getattr(conversation, field)
                if text:
                    setattr(conversation, field, END_OF_TURN.sub(lambda _: self.end_of_turn, text))
        return conversation


@dataclasses.dataclass(frozen=True)
class TokenizerTemplate:
    """The chat template that a tokenizer brings along."""

    tokenizer: Any
    system_message: str | None = None
    name: str = OWN_TEMPLATE

    def render(self, messages: Sequence[str]) -> str:
        """The prompt for messages user, assistant, user, ...: the assistant's turn is left open."""
        chat = chat_messages(self.system_message or "", messages)
        return self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)

    def encode(self, tokenizer: Any, prompt: str) -> list[int]:
        """Token ids of a rendered prompt; begin-of-text only where template or tokenizer put it."""
        ids = tokenizer(prompt)["input_ids"]
        return ids[1:] if ids[:2] == [tokenizer.bos_token_id] * 2 else ids

    def stop_strings(self) -> list[str]:
        """None: only tokens end an answer."""
        return []

    def stop_token_ids(self, tokenizer: Any) -> set[int]:
        """The tokenizer's end of sequence."""
        return {tokenizer.eos_token_id} - {None}


def chat_messages(system: str, turns: Sequence[str]) -> list[dict[str, str]]:
    """Messages with roles: the system's if there is one, then user and assistant in turn."""
    roles = ("user", "assistant")
    listed = [{"role": "system", "content": system}] if system else []
    return listed + [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]


def choose_template(
    name: str,
    tokenizer: Any,
    keep_separators: bool = False,
    system_message: str | None = None,
) -> ChatTemplate | TokenizerTemplate:
    """The template of that name with the tokenizer's end-of-turn token in its separators."""
    if name == OWN_TEMPLATE:
        if not getattr(tokenizer, "chat_template", None):
            raise UserError("template: the tokenizer has no chat template; name a FastChat one")
        return TokenizerTemplate(tokenizer, system_message)
    _fastchat_template(name)
    return ChatTemplate(name, None if keep_separators else tokenizer.eos_token, system_message)


def _fastchat_template(name: str) -> Any:
    from fastchat.conversation import get_conv_template

    try:
        return get_conv_template(name)
    except KeyError:
        raise UserError(
            f"template: FastChat has no conversation template {name}; "
            "examples: openchat_3.5, mistral, vicuna_v1.1, llama-2"
        ) from None


def _single_token(tokenizer: Any, text: str) -> int | None:
    return tokenizer.get_vocab().get(text)
