"""What a model folder's manifest lists: its identity, and whether the files are still those."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from fusionchat.errors import UserError
from fusionchat.files import MANIFEST, checksums, read_json_object, sample_digest

_READ = (".safetensors", ".safetensors.index.json", "config.json", "tokenizer.json", ".model")


def check_unchanged(folder: Path, weights: Iterable[Path] = ()) -> None:
    """Raise `UserError` where a file that the manifest lists is gone or another one by now.

    `weights` are the files that will be read: one that the manifest does not list came later. A
    folder without a manifest of ours is taken as it is.
    """
    manifest = folder / MANIFEST
    content = read_json_object(manifest) if manifest.is_file() else {}
    files, samples = content.get("files"), content.get("samples")
    if not isinstance(files, dict):
        return
    remedy = f"; make the model again (without {manifest} its step runs anew)"
    for name in files:
        path = folder / name
        if not name.endswith(_READ):
            continue
        if not path.exists():
            raise UserError(f"{path} is missing, though {manifest} lists it{remedy}")
        if isinstance(samples, dict) and samples.get(name) != sample_digest(path):
            raise UserError(f"{path} was changed or cut off after {manifest} was written{remedy}")
    for path in weights:
        if path.name not in files:
            raise UserError(f"{path} came after {manifest}, which does not list it{remedy}")


def fingerprint(folder: str | os.PathLike[str]) -> str:
    """A checksum of a model folder: of its manifest's list of files where it has one."""
    folder = Path(folder)
    manifest = folder / MANIFEST
    files = read_json_object(manifest).get("files") if manifest.exists() else None
    listing = json.dumps(files or checksums(folder), sort_keys=True)
    return hashlib.sha256(listing.encode()).hexdigest()
