"""How the pivot's tokenizer cuts bytes in the middle of a text."""

import json
from collections.abc import Iterator

from tokenizers import Tokenizer

from fusionchat.models.token_table import BYTE_LEVEL, METASPACE, TokenTable, by_bytes, byte_alphabet


class Cutter:
    """The tokenizer of a table without normaliser, added tokens and marks at the start of a text.

    Bytes that are a token are that token. Bytes that are no text, or that the tokenizer does not
    spell, are cut into the longest tokens that fit; bytes that begin no token end the cut.
    """

    def __init__(self, table: TokenTable):
        kept = {part: table.content.get(part) for part in ("pre_tokenizer", "model")}
        empty = dict.fromkeys(
            ("truncation", "padding", "normalizer", "post_processor", "decoder"), None
        )
        self._tokenizer = Tokenizer.from_str(
            json.dumps({"version": "1.0", "added_tokens": [], **empty, **kept})
        )
        self._spelled = table.token_bytes
        self._byte_level = table.marker == BYTE_LEVEL
        self._letters = {byte: letter for letter, byte in byte_alphabet().items()}
        self._known = by_bytes(table)
        self._longest = max(map(len, self._known), default=0)

    def __call__(self, data: bytes) -> tuple[int, ...]:
        """The pivot ids that spell the bytes."""
        if data in self._known:
            return (self._known[data],)
        tokens = self._cut(data)
        if b"".join(self._spelled[token] for token in tokens) == data:
            return tokens
        return tuple(self._longest_first(data))

    def _cut(self, data: bytes) -> tuple[int, ...]:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            if not self._byte_level:
                return ()
            model = self._tokenizer.model
            return tuple(t.id for t in model.tokenize("".join(self._letters[b] for b in data)))
        text = text if self._byte_level else text.replace(" ", METASPACE)
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _longest_first(self, data: bytes) -> Iterator[int]:
        at = 0
        while at < len(data):
            stops = range(min(len(data), at + self._longest), at, -1)
            at, begin = next((stop for stop in stops if data[at:stop] in self._known), 0), at
            if not at:
                return
            yield self._known[data[begin:at]]


def cut_texts(source: TokenTable, pivot: TokenTable) -> tuple[list[bytes], list[tuple[int, ...]]]:
    """Bytes of each source token and the pivot tokens that spell it; none for special tokens."""
    cutter = Cutter(pivot)
    texts = [b"" if s else b for b, s in zip(source.token_bytes, source.special, strict=True)]
    return texts, [cutter(data) if data else () for data in texts]
