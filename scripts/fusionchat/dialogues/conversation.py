"""Rendering a dialogue in the pivot's chat format and finding its response tokens.

Every model, teachers included, reads the pivot's format, with its own end-of-turn token as the
separator between turns (section 4.1 of the paper and the released training code).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fusionchat.dialogues.dialogue import Dialogue
from fusionchat.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Encoded:
    """Token ids of a dialogue.

    `input_ids`: int32 [L], beginning with BOS where the tokenizer has one.
    `spans`: int32 [turns, 2], (start, length) of each turn's response tokens, the end-of-turn
    token included. The distribution that predicts token t is the model's output at t - 1.
    """

    input_ids: np.ndarray
    spans: np.ndarray

    def labels(self) -> np.ndarray:
        """Training labels, int64 [L]: the token itself in a response, -100 elsewhere."""
        labels = np.full(len(self.input_ids), -100, dtype=np.int64)
        for start, length in self.spans:
            labels[start : start + length] = self.input_ids[start : start + length]
        return labels


def render(
    turns: tuple[tuple[str, str], ...], template: str, end_of_turn: str
) -> tuple[str, list[tuple[int, int]]]:
    """The training text and the (start, stop) characters of each response in it.

    `template` names a FastChat conversation template such as `openchat_3.5`. A response begins
    right after the assistant's header, so a space that follows the header is part of it, and
    ends with the end-of-turn token; an empty answer has neither.
    """
    from fastchat.conversation import get_conv_template

    try:
        conversation = get_conv_template(template)
    except KeyError as error:
        raise UserError(f"chat template {template!r} is not known to FastChat") from error
    if conversation.sep2 is None:
        conversation.sep = end_of_turn
    else:  # the separator after answers, where there are two
        conversation.sep2 = end_of_turn
    responses = []
    for user, assistant in turns:
        conversation.append_message(conversation.roles[0], user)
        conversation.append_message(conversation.roles[1], None)
        start = len(conversation.get_prompt())
        conversation.update_last_message(assistant)
        text = conversation.get_prompt()
        end = text.rfind(end_of_turn, start)  # ChatML goes on with a line break
        responses.append((start, len(text) if end < 0 else end + len(end_of_turn)))
    return conversation.get_prompt(), responses


def encode_dialogue(
    tokenizer: "PreTrainedTokenizerBase", dialogue: Dialogue, template: str
) -> Encoded:
    """Token ids and response spans of one dialogue, not truncated.

    A token belongs to a response when it begins inside it. A tokenizer without an end-of-turn
    token (`eos_token`) is a `UserError`.
    """
    if tokenizer.eos_token is None:
        raise UserError(f"{tokenizer.name_or_path}: the tokenizer has no eos_token to end a turn")
    text, responses = render(dialogue.turns, template, tokenizer.eos_token)
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids = encoding["input_ids"]
    begins = np.array([start for start, _ in encoding["offset_mapping"]], dtype=np.int64)
    prefix = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    spans = []
    for start, stop in responses:
        first, last = np.searchsorted(begins, (start, stop))
        spans.append((len(prefix) + first, last - first))
    return Encoded(
        np.array(prefix + ids, dtype=np.int32), np.array(spans, dtype=np.int32).reshape(-1, 2)
    )


def response_bytes(dialogue: Dialogue) -> int:
    """Bytes of UTF-8 in a dialogue's responses, each end of turn counted as one.

    Depends on the text alone, so nats a byte can be compared between tokenizers. FastChat renders
    an empty answer without an end of turn.
    """
    answers = [assistant for _, assistant in dialogue.turns if assistant]
    return sum(len(answer.encode("utf-8")) + 1 for answer in answers)


def truncate(encoded: Encoded, max_length: int) -> Encoded:
    """Cut to `max_length` tokens, as the released training code does with what is too long."""
    kept = [
        (start, min(length, max_length - start))
        for start, length in encoded.spans.tolist()
        if start < max_length
    ]
    return Encoded(encoded.input_ids[:max_length], np.array(kept, dtype=np.int32).reshape(-1, 2))
