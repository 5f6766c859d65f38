"""How many tokens a text has where a server does not say: by a tokenizer, or by its scripts."""

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from fusionchat.models.tokenizer import read_tokenizer

Counter = Callable[[str], int]

# Tokens a character, the most that a common tokenizer takes on ordinary text of each kind.
_KINDS: tuple[tuple[str, float], ...] = (
    (r"[A-Za-z]", 0.30),
    (r"[0-9]", 1.0),
    (r" ", 0.25),
    (r"[\t\n\r]", 0.6),
    (r"[!-/:-@\[-`{-~]", 0.85),
    (r"[\u00a0-\u024f]", 1.1),
    (r"[\u0370-\u03ff]", 1.3),
    (r"[\u0400-\u052f]", 0.5),
    (r"[\u0590-\u06ff]", 1.1),
    (r"[\u0900-\u0eff]", 1.3),
    (r"[\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef]", 1.6),
)
_KIND = re.compile("|".join(f"({kind})" for kind, _ in _KINDS))


def estimate_tokens(text: str) -> int:
    """Tokens of a text by the scripts in it, rather too many than too few.

    Letters share tokens, digits and Chinese characters hardly do, and what no tokenizer knows is
    spelt in bytes.
    """
    known = [0] * len(_KINDS)
    rest = _KIND.sub(lambda match: _count(known, match.lastindex), text)
    spelt = len(rest.encode("utf-8", "replace"))
    tokens = spelt + sum(n * share for n, (_, share) in zip(known, _KINDS, strict=True))
    return int(tokens) + bool(text)


def _count(known: list[int], group: int | None) -> str:
    known[(group or 1) - 1] += 1
    return ""


@lru_cache(maxsize=4)
def tokenizer_counter(path: Path) -> Counter:
    """Counts tokens by a tokenizer.json, or the one in a folder."""
    tokenizer = read_tokenizer(path / "tokenizer.json" if path.is_dir() else path)

    def count(text: str) -> int:
        clean = text.encode("utf-8", "replace").decode()
        return len(tokenizer.encode(clean, add_special_tokens=False).ids)

    return count
