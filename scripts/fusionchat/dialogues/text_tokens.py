"""Token ids of rendered text, with token boundaries where they are needed.

A prompt is tokenised without the answer behind it. So that training and answering see the same
ids, the training text has a boundary at the beginning of every answer, and what a user writes like
a special token stays text.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from fusionchat.dialogues.templates import Rendered
from fusionchat.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Text in front of a piece from the middle of a text; tokens that hold both are avoided.
ANCHORS = ("0", "a", ":", "\n")


class Tokens(NamedTuple):
    """Token ids, and the character of the text at which each of them begins."""

    ids: list[int]
    begins: list[int]

    def __add__(self, other: "Tokens") -> "Tokens":  # type: ignore[override]
        return Tokens(self.ids + other.ids, self.begins + other.begins)


class Piece(NamedTuple):
    """Characters from where the piece before stops; `literal`: no special tokens in it."""

    stop: int
    literal: bool = False


class TextTokens:
    """Tokenises rendered conversations; `literal`: special tokens in messages become text."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", literal: bool = True):
        self._tokenizer, self._literal = tokenizer, literal

    def __call__(self, rendered: Rendered) -> Tokens:
        """Tokens of a conversation. Those of a prompt begin those of the whole conversation."""
        text = rendered.text
        pieces = self._pieces(rendered)
        prefixes = self._tokenise([text[: piece.stop] for piece in pieces])
        tokens, start = Tokens([], []), 0
        for piece, whole in zip(pieces, prefixes, strict=True):
            if not piece.literal and whole.ids[: len(tokens.ids)] == tokens.ids:
                tokens = whole
            else:  # a token would reach over the boundary, or it is not to be a special one
                tokens += self._continuation(text[start : piece.stop], start, piece.literal)
            start = piece.stop
        return tokens

    def count_special(self, text: str) -> int:
        """How often a text holds the spelling of a special token."""
        return len(self._specials.findall(text))

    def _special_places(self, rendered: Rendered) -> list[tuple[int, int]]:
        """Where messages hold the spelling of a special token, (start, stop) characters."""
        return [
            (start + match.start(), start + match.end())
            for start, stop in rendered.messages
            for match in self._specials.finditer(rendered.text[start:stop])
        ]

    @cached_property
    def _specials(self) -> re.Pattern[str]:
        added = self._tokenizer.added_tokens_decoder.values()
        texts = {token.content for token in added if token.special and token.content.strip()}
        texts |= set(self._tokenizer.all_special_tokens)
        longest_first = sorted(texts, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def _pieces(self, rendered: Rendered) -> list[Piece]:
        stops = {start: Piece(start) for start in rendered.starts}
        for start, stop in self._special_places(rendered) if self._literal else ():
            stops.setdefault(start, Piece(start))
            stops[stop] = Piece(stop, literal=True)
        stops.setdefault(len(rendered.text), Piece(len(rendered.text)))
        return [stops[at] for at in sorted(stops) if at]

    def _tokenise(self, texts: Sequence[str], literal: bool = False) -> list[Tokens]:
        encoded = self._tokenizer(
            list(texts),
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            split_special_tokens=literal,
        )
        rows = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        return [Tokens(ids, [begin for begin, _ in offsets]) for ids, offsets in rows]

    def _continuation(self, piece: str, start: int, literal: bool) -> Tokens:
        """Tokens of a piece that begins at character `start`, as in the middle of a text."""
        for anchor in ANCHORS:
            before, both = self._tokenise([anchor, anchor + piece], literal)
            count = len(before.ids)
            if both.ids[:count] == before.ids and min(both.begins[count:], default=1) >= 1:
                begins = [start + begin - len(anchor) for begin in both.begins[count:]]
                return Tokens(both.ids[count:], begins)
        raise UserError(f"{self._tokenizer.name_or_path}: cannot tokenise {piece[:20]!r} by itself")
