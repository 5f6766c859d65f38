"""Where a model folder says at which tokens transformers ends an answer."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from fusionchat.errors import UserError
from fusionchat.files import read_json_object

GENERATION_CONFIG = "generation_config.json"


def generation_ends(folder: str | os.PathLike[str]) -> frozenset[int]:
    """The ids at which transformers would stop: generation_config.json's, or config.json's."""
    return frozenset(_ends(Path(folder)))


def stop_also(folder: str | os.PathLike[str], ids: Iterable[int]) -> None:
    """Let transformers stop at these ids, too; a folder that says so already stays as it is."""
    path, ends = Path(folder) / GENERATION_CONFIG, _ends(Path(folder))
    new = sorted(set(ids) - set(ends))
    if new:
        facts = read_json_object(path) if path.exists() else {}
        ends += new
        facts["eos_token_id"] = ends if len(ends) > 1 else ends[0]
        path.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _ends(folder: Path) -> list[int]:
    for path in (folder / GENERATION_CONFIG, folder / "config.json"):
        if path.exists():
            ids = read_json_object(path).get("eos_token_id")
            ends = [] if ids is None else ids if isinstance(ids, list) else [ids]
            if not all(isinstance(end, int) for end in ends):
                raise UserError(f"{path}: eos_token_id {ids!r} is no id of a token, nor a list")
            return list(ends)
    return []
