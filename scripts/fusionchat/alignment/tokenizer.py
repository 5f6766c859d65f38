"""What alignment needs to know of a tokenizer: the bytes of each token, its roles, its identity.

Everything is read from `tokenizer.json`, so that no tokenizer library has to be imported. A
tokenizer's identity is its text part alone (model without special tokens, normaliser,
pre-tokeniser): special tokens differ between models that otherwise share ids, and are matched by
role.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fusionchat.errors import UserError
from fusionchat.files import read_json
from fusionchat.models.remote_code import runs_code

METASPACE, BYTE_LEVEL = "▁", "Ġ"
ROLES = ("eos", "bos", "unk", "pad")
NO_TOKEN = -1
UNKNOWN_BYTES = b"\xff"  # no text holds this byte, so unknown text equals only unknown text


@dataclass(frozen=True)
class TokenTable:
    """A tokenizer's vocabulary of V ids.

    `pieces`: spelling of each id in the vocabulary ("" for an id that is not used);
    `special`: bool [V], tokens that stand for no text; `roles`: eos (end of turn), bos, unk, pad
    to id; `marker`: the character that stands for a space ("" if none); `identity`: checksum of
    everything that decides which text an id stands for, special tokens aside; `fingerprint`:
    checksum of all of it.
    """

    name: str
    pieces: tuple[str, ...]
    token_bytes: tuple[bytes, ...]
    special: np.ndarray
    roles: dict[str, int]
    marker: str
    identity: str
    fingerprint: str

    @property
    def size(self) -> int:
        """Number of ids, unused ones included."""
        return len(self.pieces)

    @cached_property
    def flat(self) -> np.ndarray:
        """The bytes of all tokens, uint8, one after the other."""
        return np.frombuffer(b"".join(self.token_bytes) or b"\0", np.uint8)

    @cached_property
    def offsets(self) -> np.ndarray:
        """int64 [V + 1]: token i is `flat[offsets[i]:offsets[i + 1]]`."""
        lengths = [len(data) for data in self.token_bytes]
        return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])

    @cached_property
    def stripped(self) -> tuple[str, ...]:
        """The spelling of each id without the character that stands for a space."""
        if not self.marker:
            return self.pieces
        return tuple(piece.replace(self.marker, "") for piece in self.pieces)

    @cached_property
    def surfaces(self) -> tuple[str, ...]:
        """The text of each id; bytes that are no valid UTF-8 become lone surrogates."""
        return tuple(data.decode("utf-8", "surrogateescape") for data in self.token_bytes)

    def text(self, ids: np.ndarray) -> str:
        """The text that a sequence of ids spells, for people to read."""
        return b"".join(self.token_bytes[i] for i in ids).decode("utf-8", "replace")


def load(folder: str | os.PathLike[str]) -> TokenTable:
    """Read a Hugging Face model folder; one without a usable tokenizer is a `UserError`."""
    folder = Path(folder)
    path = folder / "tokenizer.json"
    content = read_json(path) if path.exists() else _convert_slow(folder)
    return from_content(content, _role_names(folder), str(folder))


def from_content(content: dict[str, Any], role_names: dict[str, str], name: str) -> TokenTable:
    """Build the table from a parsed `tokenizer.json` and the spelling of each role's token."""
    vocabulary = _vocabulary(content["model"], name)
    added = {entry["content"]: entry for entry in content.get("added_tokens") or []}
    ids = {**vocabulary, **{text: entry["id"] for text, entry in added.items()}}
    special_pieces = {text for text, entry in added.items() if entry["special"]}
    special_pieces |= {text for text in role_names.values() if text in ids}
    size = max(ids.values(), default=-1) + 1
    pieces, special = [""] * size, np.zeros(size, dtype=bool)
    for piece, index in ids.items():
        pieces[index], special[index] = piece, piece in special_pieces
    spell = _speller(content, name)
    base = _identity_content(content, special_pieces)
    roles = {role: ids[text] for role, text in role_names.items() if text in ids}
    unknown = _unknown(content["model"], ids)
    if unknown is not None:
        roles.setdefault("unk", unknown)
    token_bytes = [p.encode() if p in added else spell(p) for p in pieces]
    if "unk" in roles:
        token_bytes[roles["unk"]], special[roles["unk"]] = UNKNOWN_BYTES, True
    whole = [base, sorted(ids.items()), sorted(special_pieces), sorted(roles.items())]
    return TokenTable(
        name=name,
        pieces=tuple(pieces),
        token_bytes=tuple(token_bytes),
        special=special,
        roles=roles,
        marker=_marker(content),
        identity=_checksum(base),
        fingerprint=_checksum(whole),
    )


def equal(first: TokenTable, second: TokenTable) -> bool:
    """Whether ids of text mean the same in both: same vocabulary, merges and text processing.

    Special tokens do not count: they are matched by role (`special_map`).
    """
    return first.identity == second.identity


def special_map(source: TokenTable, pivot: TokenTable) -> dict[int, int]:
    """Source id to pivot id of the special tokens that mean the same.

    The token of a role goes to the pivot's token of that role, whatever the spelling. `unk` stands
    for any text that a vocabulary lacks, so it is matched only between equal tokenizers. Special
    tokens without a role on either side are matched by spelling; the rest have no partner.
    """
    found: dict[int, int] = {}
    for role in ROLES:
        if role in source.roles and role in pivot.roles and (role != "unk" or equal(source, pivot)):
            found.setdefault(source.roles[role], pivot.roles[role])
    with_role = set(pivot.roles.values())
    by_spelling = {
        pivot.pieces[i]: i for i in np.flatnonzero(pivot.special).tolist() if i not in with_role
    }
    for index in np.flatnonzero(source.special).tolist():
        if index not in source.roles.values() and source.pieces[index] in by_spelling:
            found[index] = by_spelling[source.pieces[index]]
    return found


def check_ids(table: TokenTable, ids: np.ndarray, where: str) -> None:
    """Stop when a file holds ids that the tokenizer does not have."""
    if ids.size and (ids.min() < 0 or ids.max() >= table.size):
        raise UserError(
            f"{where}: token id {int(ids.max())} is not in the vocabulary of {table.name} "
            f"({table.size} ids); the file was made with another tokenizer"
        )


def _convert_slow(folder: Path) -> dict[str, Any]:
    """The content of `tokenizer.json` for a folder that has only a SentencePiece model."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, use_fast=True, trust_remote_code=runs_code(folder)
        )
        return json.loads(tokenizer.backend_tokenizer.to_str())
    except (OSError, ValueError, AttributeError, ImportError) as error:
        raise UserError(f"{folder}: no tokenizer.json and none can be made: {error}") from error


def _role_names(folder: Path) -> dict[str, str]:
    """The spelling of the token of each role, from the tokenizer's configuration."""
    settings: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).exists():
            settings.update(read_json(folder / name))
    names = {role: settings.get(f"{role}_token") for role in ROLES}
    texts = {role: n["content"] if isinstance(n, dict) else n for role, n in names.items()}
    return {role: text for role, text in texts.items() if text}


def _vocabulary(model: dict[str, Any], name: str) -> dict[str, int]:
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict):
        return vocabulary
    if isinstance(vocabulary, list):  # Unigram: (piece, score) pairs
        return {piece: index for index, (piece, _) in enumerate(vocabulary)}
    raise UserError(f"{name}: tokenizer.json holds no vocabulary")


def _unknown(model: dict[str, Any], ids: dict[str, int]) -> int | None:
    """The id that stands for text outside the vocabulary, if the model names one."""
    if model.get("unk_id") is not None:
        return model["unk_id"]
    return ids.get(model.get("unk_token") or "")


def _identity_content(content: dict[str, Any], special: set[str]) -> list[Any]:
    """What decides the meaning of text ids, in a form that older and newer files share."""
    model = content["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        vocabulary = sorted((p, i) for p, i in vocabulary.items() if p not in special)
    else:
        vocabulary = [(*pair, i) for i, pair in enumerate(vocabulary) if pair[0] not in special]
    merges = [m.split(" ", 1) if isinstance(m, str) else m for m in model.get("merges") or []]
    flags = ("byte_fallback", "fuse_unk", "ignore_merges", "dropout")
    affixes = ("continuing_subword_prefix", "end_of_word_suffix")
    text_tokens = [
        (entry["content"], entry["id"])
        for entry in content.get("added_tokens") or []
        if entry["content"] not in special
    ]
    return [
        model.get("type"),
        vocabulary,
        merges,
        [bool(model.get(flag)) for flag in flags],
        [model.get(affix) or "" for affix in affixes],
        text_tokens,
        content.get("normalizer"),
        content.get("pre_tokenizer"),
    ]


def _checksum(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _parts(content: dict[str, Any], *sections: str) -> Iterator[dict[str, Any]]:
    """Every component of the named sections, those inside sequences included."""
    pending = [content.get(section) for section in sections]
    while pending:
        part = pending.pop()
        if part:
            yield part
            for inner in ("normalizers", "pretokenizers", "decoders"):
                pending.extend(part.get(inner) or [])


def _marker(content: dict[str, Any]) -> str:
    """The character that stands for a space in this tokenizer's pieces."""
    for part in _parts(content, "pre_tokenizer", "decoder", "normalizer"):
        if part["type"] == "ByteLevel":
            return BYTE_LEVEL
        if part["type"] == "Metaspace":
            return part["replacement"]
        if part["type"] == "Replace" and METASPACE in (
            part.get("content"),
            (part.get("pattern") or {}).get("String"),
        ):
            return METASPACE
    return ""


def _byte_alphabet() -> dict[str, int]:
    """The printable characters that byte-level vocabularies write for the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    alphabet = {chr(byte): byte for byte in plain}
    return alphabet | {chr(256 + rank): byte for rank, byte in enumerate(others)}


def _speller(content: dict[str, Any], name: str):
    """A function from a piece to the bytes it stands for."""
    model, marker = content["model"], _marker(content)
    if model.get("type") == "WordPiece":
        raise UserError(f"{name}: WordPiece vocabularies do not spell text; use another source")
    if marker == BYTE_LEVEL:
        alphabet = _byte_alphabet()

        def spell(piece: str) -> bytes:
            if all(character in alphabet for character in piece):
                return bytes(alphabet[character] for character in piece)
            return piece.encode()

        return spell
    byte_pieces = {f"<0x{byte:02X}>": bytes([byte]) for byte in range(256)}
    fallback = model.get("byte_fallback") or any(
        part["type"] == "ByteFallback" for part in _parts(content, "decoder")
    )

    def spell(piece: str) -> bytes:
        if fallback and piece in byte_pieces:
            return byte_pieces[piece]
        return (piece.replace(marker, " ") if marker else piece).encode()

    return spell
