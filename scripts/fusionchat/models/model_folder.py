"""Model folders of safetensors with a manifest, whatever the weights came from."""

import shutil
from pathlib import Path
from typing import Any

from fusionchat.errors import UserError
from fusionchat.files import (
    MANIFEST,
    atomic_folder,
    remove_partials,
    replace_folder,
    write_manifest,
)


def from_lock(lock: Path, name: str, output: Path) -> None:
    """Download what the lock names, below a hidden folder that a killed run can continue."""
    from fusionchat.models import hub

    entry = hub.read_lock(lock, name)
    remove_partials(output)
    download = output.with_name(f".{output.name}.download")
    hub.download(entry, download)
    facts = {"repo": entry["repo"], "revision": entry["revision"], "locked": entry["files"]}
    if entry.get("remote_code"):
        facts["remote_code"] = True
    checksums = {file: locked["sha256"] for file, locked in entry["files"].items()}
    if any(file.endswith(".safetensors") for file in checksums):
        write_manifest(download, **facts)
        replace_folder(download, output)
    else:
        from_pickles(download, checksums, output, **facts)
        shutil.rmtree(download)


def from_pickles(checkpoint: Path, checksums: dict[str, str], output: Path, **facts: Any) -> None:
    """Convert checksummed .bin files; configuration, tokenizer and code to run are copied."""
    from fusionchat.models.pickled import convert

    check_apart(checkpoint, output)
    with atomic_folder(output) as folder:
        for path in supporting_files(checkpoint, code=facts.get("remote_code", False)):
            shutil.copy(path, folder)
        tensors = convert(checkpoint, checksums, folder)
        pickles = {name: value for name, value in checksums.items() if name.endswith(".bin")}
        write_manifest(folder, converted_from=pickles, tensors=tensors, **facts)


def from_path(path: Path, output: Path) -> None:
    """A folder of links to somebody's safetensors; configuration and tokenizer are copied."""
    weights = sorted([*path.glob("*.safetensors"), *path.glob("*.safetensors.index.json")])
    if not any(file.suffix == ".safetensors" for file in weights):
        raise UserError(f"{path} has no safetensors; make them with convert_checkpoint.py")
    check_apart(path, output)
    with atomic_folder(output) as folder:
        for file in supporting_files(path):
            shutil.copy(file, folder)
        for file in weights:
            (folder / file.name).symlink_to(file.resolve())
        write_manifest(folder)


def check_apart(origin: Path, output: Path) -> None:
    """Refuse to replace a folder by what is made from its own files."""
    if origin.resolve().is_relative_to(output.resolve()):
        raise UserError(f"{output} would be replaced, but {origin} is there; use another --output")


def supporting_files(folder: Path, code: bool = False) -> list[Path]:
    """Configuration and tokenizer: what is neither weights, nor a manifest, nor unwanted code."""
    dropped = {".bin", ".pt", ".pth", ".safetensors", ".md", ".partial"}
    if not code:
        dropped.add(".py")
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file()
        and path.suffix not in dropped
        and path.name != MANIFEST
        and not path.name.endswith((".bin.index.json", ".safetensors.index.json"))
        and not path.name.startswith(".")
    )
