"""What a model folder's manifest lists: its identity, and whether the files are still those."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from fusionchat.errors import UserError
from fusionchat.files import MANIFEST, MARKER, checksums, read_json_object, sample_digest

# What loading reads: weights, configs, tokenizers, templates and a model's own code.
_READ = (".safetensors", ".json", ".model", ".txt", ".jinja", ".py")


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest of a folder; empty where there is none, or only another program's."""
    with suppress(OSError, UserError):
        return read_json_object(Path(folder) / MANIFEST)
    return {}


def check_unchanged(folder: Path, weights: Iterable[Path] = ()) -> None:
    """Raise `UserError` where a file that the manifest lists is gone or another one by now.

    `weights` are the files that will be read: one that the manifest does not list came later. A
    folder without a manifest of ours is taken as it is.
    """
    for fault in changes(folder, weights):
        raise UserError(fault)


def changes(
    folder: Path, weights: Iterable[Path] = (), endings: tuple[str, ...] = _READ
) -> Iterator[str]:
    """The faults that `check_unchanged` raises, each as a line; of files with these endings."""
    manifest = folder / MANIFEST
    content = read_manifest(folder)
    files, samples = content.get("files"), content.get("samples")
    remedy = f"; make the model again (without {manifest} its step runs anew)"
    if not isinstance(files, dict):
        if manifest.exists() and (folder / MARKER).exists():
            yield f"{manifest} was changed or cut off{remedy}"
        return
    for name in files:
        path = folder / name
        if not name.endswith(endings):
            continue
        if not path.exists():
            yield f"{path} is missing, though {manifest} lists it{remedy}"
        elif isinstance(samples, dict) and samples.get(name) != sample_digest(path):
            yield f"{path} was changed or cut off after {manifest} was written{remedy}"
    for path in weights:
        if path.name not in files:
            yield f"{path} came after {manifest}, which does not list it{remedy}"


def fingerprint(folder: str | os.PathLike[str]) -> str:
    """A checksum of a model folder: of its manifest's list of files where it has one."""
    files = read_manifest(folder).get("files") or checksums(folder)
    listing = json.dumps(files, sort_keys=True)
    return hashlib.sha256(listing.encode()).hexdigest()
