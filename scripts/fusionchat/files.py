"""Files that are whole or not there, checksums, and the manifest that is written last."""

import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO

from fusionchat.errors import UserError
from fusionchat.hardware import hardware

MANIFEST = "manifest.json"
MARKER = ".fusionchat.json"  # says which program made a folder
PACKAGE = "fusionchat"
_ABOUT = (MANIFEST, MARKER)
_PIECE, _PIECES = 16 * 1024, 64
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the same folder; rename it to `path` when the block succeeds.

    A place where no file can be made is a `UserError` before the block begins.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file")
    partial = _temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
    except OSError as error:
        why = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise UserError(f"{path} cannot be written: {why}") from error
    try:
        yield partial
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:  # a write's own error names no file
        if error.errno in _FULL and error.filename is None:
            raise OSError(error.errno, f"{path}: {error.strerror}") from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def remove_partials(path: Path) -> None:
    """Remove what killed runs left behind for this final name, and for no other."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.partial")
    for stale in path.parent.iterdir() if path.parent.is_dir() else ():
        if name.fullmatch(stale.name) and not stale.is_dir():
            stale.unlink(missing_ok=True)


def parts_folder(output: Path) -> Path:
    """Where the finished parts of an unfinished file lie: hidden, beside it."""
    return output.with_name(f".{output.name}.parts")


def kept_part(path: Path, facts: object, read_facts: Callable[[Path], object]) -> bool:
    """Whether a part is there and was made for these very facts; any other one is removed."""
    if not path.exists():
        return False
    try:
        if read_facts(path) == facts:
            return True
        logging.warning("%s is of another run and is made anew", path)
    except UserError as error:
        logging.warning("%s; it is made anew", error)
    path.unlink()
    return False


@contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """A file, open for reading and appending, that no other process locks meanwhile."""
    with Path(path).open("a+", encoding="utf-8") as stream:
        lock(stream.fileno())
        yield stream


def lock(descriptor: int) -> None:
    """Lock a file until it is closed; some shared file systems have no locks and go without."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def sha256(path: str | os.PathLike[str]) -> str:
    """Checksum of a file, as 64 hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sample_digest(path: str | os.PathLike[str]) -> str:
    """A digest of a file's size and of 64 pieces spread over it.

    Takes no time even for the largest files, and tells a file from any other save of a model.
    """
    with Path(path).open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        digest = hashlib.blake2b(str(size).encode(), digest_size=16)
        for start in range(0, size, max(_PIECE, size // _PIECES)):
            stream.seek(start)
            digest.update(stream.read(_PIECE))
    return digest.hexdigest()


def checksums(
    folder: str | os.PathLike[str], known: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """The sha256 of every file below a folder but manifest and marker, by relative name, sorted.

    `known` are those that need not be taken again.
    """
    folder = Path(folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in _ABOUT)
    names = {str(path.relative_to(folder)): path for path in files}
    return {name: known.get(name) or sha256(path) for name, path in names.items()}


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a UTF-8 file, without a byte order mark in front.

    A missing file or one in another encoding is a `UserError`.
    """
    try:
        data = Path(path).read_bytes()
        return data.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder, not a file") from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}, is not text in UTF-8 (byte 0x{data[error.start]:02x}); "
            "save it in that encoding"
        ) from error


def read_json(path: str | os.PathLike[str], half_surrogates: bool = False) -> Any:
    """Parse a JSON file; a missing or broken one is a `UserError` that names it.

    So is one whose text holds half a surrogate pair, which no program could write
    again; with `half_surrogates` it is left to the caller to refuse the record.
    """
    try:
        return _parsed(read_text(path), half_surrogates)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error


def read_json_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Parse a JSON file that must hold an object: a config, an index, a manifest."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a JSON object with keys, but a {type(content).__name__}")
    return content


def read_jsonl(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Parse a file of one JSON object a line; a broken line is a `UserError` that names it."""
    return [record for _, record in read_numbered_jsonl(path)]


def read_numbered_jsonl(
    path: str | os.PathLike[str], half_surrogates: bool = False
) -> list[tuple[int, dict[str, Any]]]:
    """The same with the number of each object's line, counted from 1."""
    records = []
    # Lines end at "\n" only: JSON leaves U+2028 and the like unescaped inside texts.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            try:
                record = _parsed(line, half_surrogates)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}, line {number}, is not valid JSON: {error}") from error
            if not isinstance(record, dict):
                raise UserError(f"{path}, line {number}, is not a JSON object")
            records.append((number, record))
    return records


def _parsed(text: str, half_surrogates: bool = False) -> Any:
    value = json.loads(text)
    if not half_surrogates and ("\\ud" in text or "\\uD" in text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("it holds half a surrogate pair, which is no text") from error
    return value


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write JSON with sorted keys, whole or not at all."""
    with atomic_file(path) as partial:
        text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
        partial.write_text(text + "\n", encoding="utf-8")


def write_jsonl(path: str | os.PathLike[str], records: list[dict[str, Any]]) -> None:
    """Write one JSON object a line, whole or not at all."""
    with atomic_file(path) as partial:
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
        partial.write_text("".join(lines), encoding="utf-8")


def write_manifest(
    folder: str | os.PathLike[str],
    program: str,
    known: Mapping[str, str] = MappingProxyType({}),
    /,
    **facts: Any,
) -> None:
    """Write `manifest.json`: program, checksums and sample digests of the folder's files, `facts`.

    It is the last file of a step, so its presence means that the step is complete. It holds no time
    of day: the same work on the same machine gives the same manifest. `known` are checksums that
    were taken while the files were written.
    """
    packages = {name: version(name) for name in ("torch", "transformers", "tokenizers", "numpy")}
    files = checksums(folder, known)
    samples = {name: sample_digest(Path(folder) / name) for name in files}
    record = {"package": PACKAGE, "program": program, "files": files, "samples": samples}
    record |= {"versions": packages, "hardware": hardware()}
    write_json(Path(folder) / MANIFEST, {**record, **facts})
