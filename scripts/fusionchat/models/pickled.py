"""Turning pickled checkpoints (pytorch_model*.bin) into safetensors without running their code."""

import json
import logging
import pickle
import re
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from fusionchat.errors import UserError
from fusionchat.files import read_json, read_json_object, read_text, sha256

INDEX = "pytorch_model.bin.index.json"


def read_checksums(path: Path, folder: Path) -> dict[str, str]:
    """The sha256 of files by name, from a manifest (JSON) or the output of sha256sum.

    One that lacks a pickled file of `folder` is a `UserError`.
    """
    checksums = _listed(path)
    for file in _pickled(folder):
        if file.name not in checksums:
            raise UserError(
                f"{path}: no checksum is known of {file}; a pickled file is only read with one"
            )
    return checksums


def _listed(path: Path) -> dict[str, str]:
    if path.suffix == ".json":
        content = read_json(path)
        files = content.get("files") if isinstance(content, dict) else None
        if not isinstance(files, dict):
            raise UserError(f"{path} is no manifest: it has no `files` with their checksums")
        return {n: str(v.get("sha256") if isinstance(v, dict) else v) for n, v in files.items()}
    pairs = re.findall(r"^([0-9a-f]{64})[ *]+(\S.*)$", read_text(path), re.M)
    return {Path(name).name: checksum for checksum, name in pairs}


def _pickled(folder: Path) -> list[Path]:
    return sorted(folder.glob("pytorch_model*.bin"))


def convert(folder: Path, checksums: dict[str, str], output: Path) -> int:
    """Write every pickled file of `folder` as safetensors into `output`; returns the tensors.

    Each file must have the checksum that is named for it, and hold tensors only: it is read with
    `weights_only=True`. Dtypes and shapes stay as they are.
    """
    files, wanted = _pickled(folder), _indexed(folder)
    if not files:
        raise UserError(f"{folder} has no pytorch_model*.bin to convert")
    names: dict[str, str] = {}
    total = 0
    for file in files:
        _check(file, checksums)
        tensors = _independent(_load(file))
        target = file.name.replace("pytorch_model", "model").removesuffix(".bin") + ".safetensors"
        save_file(tensors, output / target, metadata={"format": "pt"})
        names |= dict.fromkeys(tensors, target)
        total += sum(tensor.nbytes for tensor in tensors.values())
    if len(files) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(names.items()))}
        text = json.dumps(index, indent=2) + "\n"
        (output / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    if lacking := sorted(wanted - names.keys()):
        raise UserError(f"{folder} lacks {len(lacking)} tensors of its index: {lacking[0]} ...")
    return len(names)


def _check(file: Path, checksums: dict[str, str]) -> None:
    expected = checksums.get(file.name)
    if expected is None:
        raise UserError(f"{file}: no checksum is known; a pickled file is only read with one")
    actual = sha256(file)
    if actual != expected:
        raise UserError(f"{file}: the sha256 is {actual}, not {expected}")


def _load(file: Path) -> dict[str, torch.Tensor]:
    try:
        content = torch.load(
            file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file)
        )
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = (str(error).splitlines() or ["broken"])[0]
        raise UserError(f"{file} holds more than tensors, or is broken: {reason}") from error
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items()
    ):
        raise UserError(f"{file} is not a dictionary of tensors")
    return content


def _independent(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous tensors that share no memory, which is what safetensors can hold."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        shared = tensor.untyped_storage().data_ptr() in seen
        seen.add(tensor.untyped_storage().data_ptr())
        plain = tensor.contiguous()
        result[name] = plain.clone() if shared and plain is tensor else plain
    if len(seen) < len(tensors):
        logging.info("%d tensors shared memory and are now copies", len(tensors) - len(seen))
    return result


def _indexed(folder: Path) -> set[str]:
    """The tensors that the folder's index lists, if it has one."""
    path = folder / INDEX
    listed = read_json_object(path).get("weight_map") if path.exists() else {}
    if not isinstance(listed, dict):
        raise UserError(f"{path} has no `weight_map` from tensors to files; copy it again")
    return set(listed)
