"""Names of noise streams as numbers."""

import hashlib


def stream_key(seed: int, *parts: object) -> int:
    """A signed 64-bit key of a noise stream, e.g. for (seed, question, choice, turn)."""
    text = "\x1f".join(str(part) for part in (seed, *parts))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
