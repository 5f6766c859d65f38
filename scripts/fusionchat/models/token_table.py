"""What alignment needs to know of a tokenizer: the bytes of each token, its roles, its identity.

Everything is read from `tokenizer.json`, so that no tokenizer library has to be imported. A
tokenizer's identity is its base vocabulary, merges and text processing: added tokens differ
between models that otherwise share ids, and are matched by role. Nor does it count how spaces get
their mark (by a normaliser in older files, by a pre-tokeniser in newer ones) and in which order
merges are tried: where equal tokenizers cut a text differently, it is aligned as any other.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fusionchat.errors import UserError
from fusionchat.files import read_json_object
from fusionchat.models.tokenizer import check_ends, load_tokenizer, read_settings, spelling

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
    all that decides which text an id stands for, added tokens aside; `fingerprint`: checksum of
    that, all ids and roles; `content`: the parsed `tokenizer.json`.
    """

    name: str
    pieces: tuple[str, ...]
    token_bytes: tuple[bytes, ...]
    special: np.ndarray
    roles: dict[str, int]
    marker: str
    identity: str
    fingerprint: str
    content: dict[str, Any] = field(repr=False, compare=False)

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


def load(folder: str | os.PathLike[str], end_of_turn: str | None = None) -> TokenTable:
    """Read a Hugging Face model folder; one without a usable tokenizer is a `UserError`.

    `end_of_turn` ends a turn where that is not the tokenizer's `eos_token`.
    """
    folder = Path(folder)
    path = folder / "tokenizer.json"
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder with a tokenizer")
    content = read_json_object(path) if path.exists() else _converted(folder)
    try:
        settings = read_settings(folder)
        names = _role_names(settings)
        roles = names if end_of_turn is None else names | {"eos": end_of_turn}
        table = from_content(_with_added(content, settings), roles, str(folder))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(
            f"{path} is no tokenizer.json of a form that is known here ({error!r}); it is damaged, "
            "or a newer version saved it"
        ) from error
    ends = {f"{role}_token": names.get(role) for role in ("bos", "eos")}
    check_ends(ends, table.pieces.__contains__, folder)
    return table


def from_content(content: dict[str, Any], role_names: dict[str, str], name: str) -> TokenTable:
    """Build the table from a parsed `tokenizer.json` and the spelling of each role's token.

    Padding that is ordinary text (`!`) is that text, and no role.
    """
    model = content.get("model") or {}
    vocabulary = _vocabulary(model, name)
    added = {entry["content"]: entry for entry in content.get("added_tokens") or []}
    ids = {**vocabulary, **{text: entry["id"] for text, entry in added.items()}}
    special_pieces = {text for text, entry in added.items() if entry["special"]}
    pad = role_names.get("pad")
    if pad not in special_pieces and pad not in [role_names.get(role) for role in ROLES[:-1]]:
        role_names = {role: text for role, text in role_names.items() if role != "pad"}
    special_pieces |= {text for text in role_names.values() if text in ids}
    size = max(ids.values(), default=-1) + 1
    pieces, special = [""] * size, np.zeros(size, dtype=bool)
    for piece, index in ids.items():
        pieces[index], special[index] = piece, piece in special_pieces
    spell = _speller(content, name)
    numbered = sorted(ids.items())
    base = _json(_identity_content(content, numbered, added.keys() | special_pieces))
    roles = {role: ids[text] for role, text in role_names.items() if text in ids}
    unknown = _unknown(model, ids)
    if unknown is not None:
        roles.setdefault("unk", unknown)
    token_bytes = [spell(p) if p in vocabulary else p.encode() for p in pieces]
    if "unk" in roles:
        token_bytes[roles["unk"]], special[roles["unk"]] = UNKNOWN_BYTES, True
    rest = _json([numbered, sorted(special_pieces), sorted(roles.items())])
    return TokenTable(
        name=name,
        pieces=tuple(pieces),
        token_bytes=tuple(token_bytes),
        special=special,
        roles=roles,
        marker=_marker(content),
        identity=_checksum(base),
        fingerprint=_checksum(f"[{base}, {rest[1:]}"),  # one list, whose long part is written once
        content=content,
    )


def equal(first: TokenTable, second: TokenTable) -> bool:
    """Whether ids of text mean the same in both: same base vocabulary, merges, text processing.

    Added tokens do not count: they are matched by role (`special_map`) or spelling.
    """
    return first.identity == second.identity


def special_map(source: TokenTable, pivot: TokenTable) -> dict[int, int]:
    """Source id to pivot id of the special tokens that mean the same.

    The token of a role goes to the pivot's token of that role, whatever the spelling; a token of
    several roles has the first of `ROLES`. `unk` stands for any text that a vocabulary lacks, so
    it is matched only between equal tokenizers. Special tokens whose role the other side lacks are
    matched by spelling; the rest have no partner.
    """
    ours, theirs = _first_roles(source), _first_roles(pivot)
    if not equal(source, pivot):
        ours.pop("unk", None)
    partners = {index: theirs[role] for role, index in ours.items() if role in theirs}
    by_spelling = {
        pivot.pieces[i]: i
        for i in np.flatnonzero(pivot.special).tolist()
        if i not in theirs.values()
    }
    unmatched = set(np.flatnonzero(source.special).tolist()) - {*partners, source.roles.get("unk")}
    for index in sorted(unmatched):
        if source.pieces[index] in by_spelling:
            partners[index] = by_spelling[source.pieces[index]]
    return partners


def _first_roles(table: TokenTable) -> dict[str, int]:
    """Role to id, each token once: padding is often the end of turn, or the unknown token."""
    roles: dict[str, int] = {}
    for role in ROLES:
        if role in table.roles and table.roles[role] not in roles.values():
            roles[role] = table.roles[role]
    return roles


def by_bytes(table: TokenTable) -> dict[bytes, int]:
    """The id of the token that spells some bytes; ordinary tokens before byte tokens (`<0x61>`)."""
    ids: dict[bytes, int] = {}
    for index in sorted(text_ids(table), key=lambda i: (table.pieces[i].startswith("<0x"), i)):
        ids.setdefault(table.token_bytes[index], index)
    return ids


def text_ids(table: TokenTable) -> list[int]:
    """The ids that stand for text."""
    return [i for i in np.flatnonzero(~table.special).tolist() if table.token_bytes[i]]


def check_ids(table: TokenTable, ids: np.ndarray, where: str) -> None:
    """Stop when a file holds ids that the tokenizer does not have."""
    if ids.size and (ids.min() < 0 or ids.max() >= table.size):
        raise UserError(
            f"{where}: token id {int(ids.max())} is not in the vocabulary of {table.name} "
            f"({table.size} ids); the file was made with another tokenizer"
        )


def _converted(folder: Path) -> dict[str, Any]:
    """The content of `tokenizer.json` for a folder that has only a SentencePiece model."""
    return json.loads(load_tokenizer(folder).backend_tokenizer.to_str())


def _with_added(content: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The tokens that the configuration alone adds are ids of the tokenizer like all others."""
    added = list(content.get("added_tokens") or [])
    known = {entry["content"] for entry in added}
    for index, entry in (settings.get("added_tokens_decoder") or {}).items():
        if entry["content"] not in known:
            added.append({**entry, "id": int(index)})
    return {**content, "added_tokens": added}


def _role_names(settings: dict[str, Any]) -> dict[str, str]:
    """The spelling of the token of each role."""
    texts = {role: spelling(settings.get(f"{role}_token")) for role in ROLES}
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


def _identity_content(
    content: dict[str, Any], numbered: Sequence[tuple[str, int]], added: Set[str]
) -> list[Any]:
    """What decides the meaning of text ids, in a form that older and newer files share.

    `numbered`: all pieces and ids, sorted.
    """
    model = content["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        vocabulary = [pair for pair in numbered if pair[0] not in added]
    else:
        vocabulary = [(*pair, i) for i, pair in enumerate(vocabulary) if pair[0] not in added]
    affixes = ("continuing_subword_prefix", "end_of_word_suffix")
    return [
        model.get("type"),
        vocabulary,
        _merges(model),
        _marker(content),
        bool(model.get("byte_fallback")),
        [model.get(affix) or "" for affix in affixes],
        [part for part in _parts(content, "normalizer", "pre_tokenizer") if not _marks(part)],
    ]


def _merges(model: dict[str, Any]) -> list[tuple[str, ...]]:
    """All pairs, sorted: their order decides how a text is cut, not what an id means.

    Converters derive the merges from a SentencePiece model, and their versions differ in the
    order: Mistral's runs of spaces come last by score, first by id.
    """
    pairs = model.get("merges") or []
    return sorted(tuple(pair.split(" ", 1) if isinstance(pair, str) else pair) for pair in pairs)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _parts(content: dict[str, Any], *sections: str) -> Iterator[dict[str, Any]]:
    """Every component of the named sections, those inside sequences included."""
    pending = [content.get(section) for section in sections]
    while pending:
        part = pending.pop()
        if part:
            yield part
            for inner in ("normalizers", "pretokenizers", "decoders"):
                pending.extend(part.get(inner) or [])


def _marks(part: dict[str, Any]) -> bool:
    """Whether a component only marks spaces (or holds others)."""
    kinds = ("Sequence", "Metaspace", "Prepend")
    return part["type"] in kinds or (part["type"] == "Replace" and _replaces_spaces(part))


def _replaces_spaces(part: dict[str, Any]) -> bool:
    return METASPACE in (part.get("content"), (part.get("pattern") or {}).get("String"))


def _marker(content: dict[str, Any]) -> str:
    """The character that stands for a space in this tokenizer's pieces."""
    for part in _parts(content, "pre_tokenizer", "decoder", "normalizer"):
        if part["type"] == "ByteLevel":
            return BYTE_LEVEL
        if part["type"] == "Metaspace":
            return part["replacement"]
        if part["type"] == "Replace" and _replaces_spaces(part):
            return METASPACE
    return ""


def byte_alphabet() -> dict[str, int]:
    """The printable characters that byte-level vocabularies write for the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    alphabet = {chr(byte): byte for byte in plain}
    return alphabet | {chr(256 + rank): byte for rank, byte in enumerate(others)}


def _speller(content: dict[str, Any], name: str) -> Callable[[str], bytes]:
    """A function from a piece to the bytes it stands for."""
    model, marker = content["model"], _marker(content)
    if model.get("type") == "WordPiece":
        raise UserError(f"{name}: WordPiece vocabularies do not spell text; use another source")
    if marker == BYTE_LEVEL:
        alphabet = defaultdict(lambda: 256, str.maketrans(byte_alphabet()))

        def spell(piece: str) -> bytes:
            try:
                return piece.translate(alphabet).encode("latin-1")
            except UnicodeEncodeError:  # a 256: some character stands for no byte
                return piece.encode()

        return spell
    byte_pieces = {f"<0x{byte:02X}>": bytes([byte]) for byte in range(256)}
    fallback = model.get("byte_fallback") or any(
        part["type"] == "ByteFallback" for part in _parts(content, "decoder")
    )

    def spell_marked(piece: str) -> bytes:
        if fallback and piece in byte_pieces:
            return byte_pieces[piece]
        return (piece.replace(marker, " ") if marker else piece).encode()

    return spell_marked
