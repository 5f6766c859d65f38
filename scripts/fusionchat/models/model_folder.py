"""Model folders of safetensors with a manifest, whatever the weights came from."""

import shutil
from pathlib import Path
from typing import Any

from fusionchat.files import MANIFEST, write_manifest
from fusionchat.models.checkpoint import INDEX
from fusionchat.output_folder import claim, hidden, output_folder


def from_lock(lock: Path, name: str, output: Path, program: str) -> None:
    """Download what the lock names, below a hidden folder that a killed run can continue."""
    from fusionchat.models import hub

    entry = hub.read_lock(lock, name)
    facts = {"repo": entry["repo"], "revision": entry["revision"], "locked": entry["files"]}
    if entry.get("remote_code"):
        facts["remote_code"] = True
    checksums = {file: locked["sha256"] for file, locked in entry["files"].items()}
    with output_folder(output, program, [lock]) as folder:
        download = claim(hidden(output.resolve(), "download"), program)
        hub.download(entry, download)
        if any(file.endswith(".safetensors") for file in checksums):
            for file in checksums:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (download / file).rename(folder / file)
        else:
            facts |= _convert(download, checksums, folder, facts.get("remote_code", False))
        write_manifest(folder, program, **facts)
    shutil.rmtree(download)


def from_pickles(
    checkpoint: Path, checksums: dict[str, str], output: Path, program: str, code: bool = False
) -> None:
    """Convert checksummed .bin files; configuration, tokenizer and, if asked, code are copied."""
    with output_folder(output, program, [checkpoint]) as folder:
        write_manifest(folder, program, **_convert(checkpoint, checksums, folder, code))


def _convert(
    checkpoint: Path, checksums: dict[str, str], folder: Path, code: bool
) -> dict[str, Any]:
    """Convert into `folder`; facts for the manifest."""
    from fusionchat.models.pickled import convert

    for path in supporting_files(checkpoint, code=code):
        shutil.copy(path, folder)
    tensors = convert(checkpoint, checksums, folder)
    pickles = {name: value for name, value in checksums.items() if name.endswith(".bin")}
    return {"converted_from": pickles, "tensors": tensors}


def from_path(path: Path, output: Path, program: str) -> None:
    """A folder of links to somebody's safetensors; configuration and tokenizer are copied."""
    from fusionchat.models.loading import check_weights

    checkpoint = check_weights(path)
    weights = sorted({info.path for info in checkpoint.tensors.values()})
    weights += [path / INDEX] if (path / INDEX).exists() else []
    with output_folder(output, program, [path]) as folder:
        for file in supporting_files(path):
            shutil.copy(file, folder)
        for file in weights:
            (folder / file.name).symlink_to(file.resolve())
        write_manifest(folder, program)


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
