"""Which token of a model's vocabulary ends a turn, and at which ids an answer stops."""

import logging
from typing import TYPE_CHECKING

from fusionchat.dialogues.jinja import EOS
from fusionchat.dialogues.templates import JinjaTemplate, Template
from fusionchat.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Spellings that name the end of a turn, not of a text.
TURN_ENDS = ("<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<|end_of_turn|>", "<|end|>", "<|eot|>")


def tokenizer_template(tokenizer: "PreTrainedTokenizerBase") -> JinjaTemplate:
    """The chat template that a tokenizer brings along; none is a `UserError`."""
    if not tokenizer.chat_template:
        raise UserError(
            f"{tokenizer.name_or_path}: the tokenizer has no chat template; set `template` to a "
            "name of FastChat's or a Jinja file"
        )
    try:
        source = tokenizer.get_chat_template()
    except ValueError as error:  # several templates, and none of them is called `default`
        raise UserError(
            f"{tokenizer.name_or_path}: the tokenizer has several chat templates and no default; "
            "save the one to use as NAME.jinja and set `template` to that file"
        ) from error
    return JinjaTemplate(f"of {tokenizer.name_or_path}", source)


def end_of_turn(
    tokenizer: "PreTrainedTokenizerBase", ends: frozenset[int], named: str | None = None
) -> str:
    """The token that ends a turn: the `named` one, what the tokenizer's chat template writes behind
    an answer, what the generation config (`ends`) says where that differs, or `eos_token`.

    A warning where these disagree; no such token in the vocabulary is a `UserError`.
    """
    where = tokenizer.name_or_path
    if named is not None:
        if _id(tokenizer, named) is None:
            raise UserError(f"end_of_turn: {named!r} is not a token of {where}")
        return named
    token = _template_end(tokenizer) or _generation_end(tokenizer, ends) or tokenizer.eos_token
    if token is None:
        raise UserError(f"{where}: the tokenizer has no eos_token to end a turn; set `end_of_turn`")
    index = _id(tokenizer, token)
    if index is None:
        raise UserError(f"{where}: {token!r}, which ends a turn, is no token of its vocabulary")
    if token != tokenizer.eos_token or (ends and index not in ends):
        known = sorted(tokenizer.convert_ids_to_tokens(sorted(ends)))
        logging.warning(
            "%s: turns end with %s; eos_token is %s, the generation config stops at %s. If that is "
            "wrong, set end_of_turn",
            *(where, token, tokenizer.eos_token, ", ".join(map(str, known)) or "none"),
        )
    return token


def stop_ids(
    tokenizer: "PreTrainedTokenizerBase",
    template: Template,
    ends: frozenset[int],
    tokens: set[str],
) -> frozenset[int]:
    """Ids that end an answer: of `tokens`, of the generation config (`ends`), of the template.

    A template of FastChat names literal ids. They hold for the vocabulary that it was written for:
    one in which its end of turn has one of them, and all of them are special tokens.
    """
    known = (_id(tokenizer, token) for token in tokens)
    ids = {index for index in known if index is not None} | ends
    literal = template.literal_stop_ids()
    if _id(tokenizer, template.end or "") in literal:
        ids |= literal & tokenizer.added_tokens_decoder.keys()
    return frozenset(ids)


def _id(tokenizer: "PreTrainedTokenizerBase", token: str) -> int | None:
    """A token's id; to look it up in `get_vocab()` would copy a quarter of a million of them."""
    index: int | None = tokenizer.backend_tokenizer.token_to_id(token)
    return index


def _template_end(tokenizer: "PreTrainedTokenizerBase") -> str | None:
    if not tokenizer.chat_template:
        return None
    end = tokenizer_template(tokenizer).end
    return tokenizer.eos_token if end == EOS else end


def _generation_end(tokenizer: "PreTrainedTokenizerBase", ends: frozenset[int]) -> str | None:
    """The generation config's end of turn, if it is not the tokenizer's end of sequence."""
    added = tokenizer.added_tokens_decoder
    texts = [added[index].content for index in sorted(ends & added.keys()) if added[index].special]
    named = [text for text in texts if text in TURN_ENDS and text != tokenizer.eos_token]
    if named:
        return named[0]
    return texts[0] if len(texts) == 1 and tokenizer.eos_token_id not in ends else None
