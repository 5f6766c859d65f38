"""The one renderer of conversations: for training, logit dump, held-out likelihood and answers."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fusionchat.dialogues.conversation import Encoded
from fusionchat.dialogues.dialogue import Dialogue
from fusionchat.dialogues.end_of_turn import (
    end_of_turn,
    stop_ids,
    tokenizer_template,
)
from fusionchat.dialogues.messages import Message, as_messages
from fusionchat.dialogues.options import RenderingOptions, SpecialText
from fusionchat.dialogues.templates import (
    TOKENIZER,
    FastChatTemplate,
    JinjaTemplate,
    SpecialTokens,
    Template,
    check_template,
    open_template,
    render,
    render_prompt,
)
from fusionchat.dialogues.text_tokens import TextTokens
from fusionchat.errors import UserError
from fusionchat.models.generation_config import generation_ends

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


DEFAULTS = RenderingOptions()


class Prompt(NamedTuple):
    """What a model is asked: the rendered text, and its token ids."""

    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Renderer:
    """Renders conversations with one template for one tokenizer.

    The prompt of a turn is the beginning of the training ids up to its answer. `spelling`: the
    special tokens of the tokenizer; `stop_ids`: ids that end an answer.
    """

    tokenizer: "PreTrainedTokenizerBase"
    template: Template
    spelling: SpecialTokens
    end_of_turn: str
    stop_ids: frozenset[int]
    system_message: str | None = None
    special_text: SpecialText = "text"

    def encode(self, dialogue: Dialogue) -> Encoded:
        """Token ids and response spans of one dialogue, not truncated.

        A token belongs to a response when it begins inside it.
        """
        said = self._messages(chain(*dialogue.turns), dialogue.system)
        rendered = render(self.template, said, self.spelling)
        tokens = self._tokens(rendered)
        ids, prefix = self._with_bos(tokens.ids)
        begins = np.array(tokens.begins, dtype=np.int64)
        first, last = (np.searchsorted(begins, at) for at in (rendered.starts, rendered.stops))
        input_ids = np.array(ids, dtype=np.int32)
        spans = np.stack([first + prefix, last - first], axis=1).astype(np.int32)
        self._check_ends(input_ids, spans)
        return Encoded(input_ids, spans)

    def prompt(self, messages: Sequence[str], system: str | None = None) -> Prompt:
        """The prompt behind messages user, assistant, user, ...: the assistant's turn is open."""
        rendered = render_prompt(self.template, self._messages(messages, system), self.spelling)
        ids, _ = self._with_bos(self._tokens(rendered).ids)
        return Prompt(rendered.text, tuple(ids))

    def special_texts(self, dialogue: Dialogue) -> int:
        """How often the messages of a dialogue hold the spelling of a special token."""
        return sum(self._tokens.count_special(text) for _, text in dialogue.messages())

    def facts(self) -> dict[str, Any]:
        """What decides the rendering, for the provenance of what is made with it."""
        source = self.template.source if isinstance(self.template, JinjaTemplate) else None
        return {
            "template": self.template.name,
            "template_sha256": source and hashlib.sha256(source.encode()).hexdigest(),
            "system_message": self.system_message,
            "end_of_turn": self.end_of_turn,
            "special_text": self.special_text,
        }

    @cached_property
    def _tokens(self) -> TextTokens:
        return TextTokens(self.tokenizer, literal=self.special_text == "text")

    @cached_property
    def _begins_with_bos(self) -> bool:
        """Whether a text begins with BOS though its template does not write it.

        The released code puts BOS before FastChat's texts; Jinja templates write it, or leave it
        to a tokenizer that adds it by itself.
        """
        bos = self.tokenizer.bos_token_id
        if isinstance(self.template, FastChatTemplate):
            return bos is not None and self.tokenizer.init_kwargs.get("add_bos_token") is not False
        bare, whole = (
            self.tokenizer("a", add_special_tokens=s)["input_ids"] for s in (False, True)
        )
        return bos is not None and bare[:1] != [bos] and whole[:1] == [bos]

    def _with_bos(self, ids: list[int]) -> tuple[list[int], int]:
        """The ids with exactly one BOS or none in front, and how many were put there."""
        bos = self.tokenizer.bos_token_id
        if bos is not None and ids[:2] == [bos, bos]:
            raise self.template.refuse(
                f"a conversation begins with {self.tokenizer.bos_token} twice; write it once, or "
                "as `bos_token` alone"
            )
        if self._begins_with_bos and ids[:1] != [bos]:
            return [bos, *ids], 1
        return ids, 0

    def _messages(self, texts: Iterable[str], system: str | None) -> list[Message]:
        return as_messages(texts, self.system_message if system is None else system)

    def _check_ends(self, input_ids: np.ndarray, spans: np.ndarray) -> None:
        """Every response ends with the end of turn, so that it is learnt."""
        end = self.tokenizer.convert_tokens_to_ids(self.end_of_turn)
        filled = spans[spans[:, 1] > 0]
        if (input_ids[filled.sum(axis=1) - 1] != end).any():
            raise self.template.refuse(
                f"{self.end_of_turn}, which ends a turn, is not one token at the end of an answer"
            )


def make_renderer(
    tokenizer: "PreTrainedTokenizerBase",
    options: RenderingOptions = DEFAULTS,
    folder: str | os.PathLike[str] | None = None,
    training: bool = True,
    keep_separators: bool = False,
) -> Renderer:
    """A renderer for a model's tokenizer; `folder` holds the model's generation config.

    For `training`, which all stages but answers of models in their own format are about, a template
    that a model could not learn from is a `UserError`. `keep_separators` keeps the end of turn that
    a template spells.
    """
    template = _template(tokenizer, options)
    if training:
        check_template(template, options.system_message is not None)
    ends = frozenset() if folder is None else generation_ends(Path(folder))
    end = end_of_turn(tokenizer, ends, options.end_of_turn)
    bos, eos = tokenizer.bos_token or "", tokenizer.eos_token or ""
    stops = {eos, end, template.end or eos}
    return Renderer(
        tokenizer=tokenizer,
        template=template,
        spelling=SpecialTokens(bos, eos, None if keep_separators else end),
        end_of_turn=end,
        stop_ids=stop_ids(tokenizer, template, ends, stops),
        system_message=options.system_message,
        special_text=options.special_text,
    )


def open_renderer(folder: str | os.PathLike[str], options: RenderingOptions) -> Renderer:
    """A renderer for the tokenizer of a model folder."""
    from fusionchat.models.tokenizer import load_tokenizer

    return make_renderer(load_tokenizer(folder), options, folder)


def _template(tokenizer: "PreTrainedTokenizerBase", options: RenderingOptions) -> Template:
    from fusionchat.models.tokenizer import load_tokenizer

    if options.template != TOKENIZER:
        if options.template_model is not None:
            raise UserError("--template-model: only with --template tokenizer")
        return open_template(options.template)
    if options.template_model is None:
        return tokenizer_template(tokenizer)
    return tokenizer_template(load_tokenizer(options.template_model))
