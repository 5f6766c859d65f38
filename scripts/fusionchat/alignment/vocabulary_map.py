"""Maps from a source's token ids to the pivot's: equal tokenizers, and equal bytes."""

import numpy as np

from fusionchat.models.token_table import NO_TOKEN, TokenTable, by_bytes, special_map, text_ids


def identity(source: TokenTable, pivot: TokenTable) -> np.ndarray:
    """int32 [source size]: each text token to itself, special tokens by role, the rest to -1.

    Only for equal tokenizers (`tokenizer.equal`). Added tokens that are text go by spelling.
    """
    same_piece = {pivot.pieces[i]: i for i in text_ids(pivot)}
    mapped = np.full(source.size, NO_TOKEN, np.int32)
    for index in text_ids(source):
        mapped[index] = same_piece.get(source.pieces[index], NO_TOKEN)
    return _with_special(mapped, source, pivot)


def exact(source: TokenTable, pivot: TokenTable) -> np.ndarray:
    """int32 [source size]: each token to the pivot's token of the same bytes, or -1.

    Among several (`a` and `<0x61>`) the one of the same spelling wins, then a token that is not a
    byte, then the lowest id. Special tokens go by role.
    """
    same_bytes = by_bytes(pivot)
    same_piece = {pivot.pieces[i]: i for i in text_ids(pivot)}
    mapped = np.full(source.size, NO_TOKEN, np.int32)
    for index, (piece, data) in enumerate(zip(source.pieces, source.token_bytes, strict=True)):
        if piece and data and not source.special[index]:
            twin = same_piece.get(piece, NO_TOKEN)
            if twin == NO_TOKEN or pivot.token_bytes[twin] != data:
                twin = same_bytes.get(data, NO_TOKEN)
            mapped[index] = twin
    return _with_special(mapped, source, pivot)


def _with_special(mapped: np.ndarray, source: TokenTable, pivot: TokenTable) -> np.ndarray:
    for source_id, pivot_id in special_map(source, pivot).items():
        mapped[source_id] = pivot_id
    return mapped
