"""Folders that a program writes: whole or not there, and nobody else's is ever replaced.

A finished folder holds a marker that names the program and its files. Snakemake deletes a job's
declared outputs, the manifest among them, before the job; the marker still tells whose folder it
is. While a program works, hidden neighbours belong to the output `m` alone: `.m.lock`, `.m.partial`
and, for the moment of the exchange, `.m.replaced`.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fusionchat.errors import UserError
from fusionchat.files import MANIFEST, MARKER, PACKAGE, read_json
from fusionchat.locks.runs import only_run

_KINDS = ("lock", "partial", "replaced", "download")


@dataclass(frozen=True)
class Maker:
    """The program that made a folder, and the files that it wrote there."""

    program: str
    files: frozenset[str]


@contextmanager
def output_folder(
    path: str | os.PathLike[str], program: str, inputs: Iterable[str | os.PathLike[str]] = ()
) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block succeeds.

    `path` must be absent, empty, or a folder that `program` made and nobody added to; it may be a
    link, whose target is then replaced. Anything else, a folder that holds one of the `inputs`, or
    another run that writes to `path` is a `UserError` before the block begins.
    """
    path = Path(path)
    spared = [Path(item) for item in inputs]
    place = check_output(path, program, spared)
    try:
        with _parents(place), only_run(hidden(place, "lock"), place, program):
            _recover(place, program)
            check_output(path, program, spared)
            partial = hidden(place, "partial")
            try:
                yield claim(partial, program)
                _sign(partial, program)
                check_output(path, program, spared)  # the block may have taken hours
                _exchange(partial, place)
            finally:
                if _is_ours(partial):  # a signal may have come before its marker
                    _discard(partial)
    except Exception as error:
        if _concerns(error, place):
            raise UserError(f"--output {path} cannot be written: {error}") from error
        raise


def _concerns(error: Exception, place: Path) -> bool:
    """Whether an error is about the output (a full disk names no file), not about an input."""
    if not isinstance(error, OSError):  # safetensors has a type of its own for them
        return "(os error " in str(error)
    names = [os.fspath(name) for name in (error.filename, error.filename2) if name]
    if not names:
        return error.errno is not None  # those of a network client have none
    beside, above = str(hidden(place, "")), {str(place), *map(str, place.parents)}
    return any(name.startswith(beside) or name in above for name in names)


def check_output(path: Path, program: str, inputs: Iterable[Path] = ()) -> Path:
    """Where the folder `path` will lie, all links followed; `UserError` if it may not be made."""
    place = Path(os.path.realpath(path))
    if any(part.is_symlink() for part in (place, *place.parents)):  # which no link's target is
        raise UserError(f"--output {path} is a link to itself; choose another folder")
    if place.name.startswith(".") and place.suffix[1:] in _KINDS:
        raise UserError(f"--output {path} has a name for unfinished work; choose another name")
    spared = [*inputs]
    with suppress(FileNotFoundError):  # somebody has deleted the working folder
        spared.append(Path.cwd())
    for kept in spared:
        if place in (kept.resolve(), *kept.resolve().parents):
            raise UserError(f"--output {path} would replace {kept}; choose another folder")
    if not place.exists():
        return place
    if not place.is_dir():
        raise UserError(f"--output {path} exists and is no folder; choose another name")
    if os.path.ismount(place):
        raise UserError(
            f"--output {path} is a mount point and cannot be exchanged as a whole; give a folder "
            f"below it, for example {path / 'model'}"
        )
    _check_contents(path, place, program)
    return place


def _check_contents(path: Path, place: Path, program: str) -> None:
    present = _files(place)
    if not present:
        return
    maker = made_by(place)
    if maker is None:
        raise UserError(
            f"--output {path} exists and was not made by {program}, or by an older version; choose "
            "another folder, or delete this one yourself"
        )
    if maker.program != program:
        raise UserError(
            f"--output {path} was made by {maker.program}, not by {program}; choose another "
            "folder, or delete this one yourself"
        )
    if added := sorted(present - maker.files):
        raise UserError(
            f"--output {path} holds {added[0]}, which {program} did not write; move it out of the "
            "way, or choose another folder"
        )


def made_by(folder: Path) -> Maker | None:
    """Which program of this package made a folder, by its marker or its manifest; None if none."""
    files: set[str] = set()
    program = None
    for name in (MARKER, MANIFEST):
        with suppress(OSError, UserError):
            facts = read_json(folder / name)
            if isinstance(facts, dict) and facts.get("package") == PACKAGE:
                program = program or facts.get("program")
                files |= {MANIFEST, *facts.get("files", ())}
    return Maker(program, frozenset(files)) if isinstance(program, str) else None


def claim(folder: Path, program: str) -> Path:
    """Make a hidden folder for unfinished work, or take over what `program` left in it."""
    maker = made_by(folder)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UserError(f"{folder} is in the way of {program}; move it")
    if folder.is_dir() and _files(folder) and (maker is None or maker.program != program):
        raise UserError(f"{folder} is in the way and was not made by {program}; move it")
    folder.mkdir(parents=True, exist_ok=True)
    _write_marker(folder, program, ())
    return folder


def _is_ours(folder: Path) -> bool:
    """Whether a folder for unfinished work is absent, empty, or has this package's marker."""
    if folder.is_symlink():
        return False
    return not folder.exists() or made_by(folder) is not None or not _files(folder)


def _files(folder: Path) -> frozenset[str]:
    """Relative names of all but folders and the marker; a link to a folder counts as a file."""
    names = []
    for root, folders, files in os.walk(folder, onerror=_fail):
        links = [name for name in folders if Path(root, name).is_symlink()]
        names += [os.path.relpath(Path(root, name), folder) for name in (*files, *links)]
    # An unfinished marker, left by a kill, has the marker's name with an ending.
    return frozenset(name for name in names if not name.startswith(MARKER))


def _fail(error: OSError) -> None:
    raise error


def _write_marker(folder: Path, program: str, files: Iterable[str]) -> None:
    text = json.dumps({"package": PACKAGE, "program": program, "files": sorted(files)}, indent=2)
    unfinished = folder / f"{MARKER}.partial"
    unfinished.write_text(text + "\n", encoding="utf-8")
    unfinished.replace(folder / MARKER)


def _sign(folder: Path, program: str) -> None:
    _write_marker(folder, program, _files(folder))


def hidden(place: Path, kind: str) -> Path:
    """The hidden neighbour of an output: no other output has a neighbour of this name."""
    return place.with_name(f".{place.name}.{kind}")


@contextmanager
def _parents(place: Path) -> Iterator[None]:
    """Make the folders above `place`; those that are still empty at the end disappear again."""
    missing = [parent for parent in place.parents if not parent.exists()]
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):
            for parent in missing:
                parent.rmdir()


def _recover(place: Path, program: str) -> None:
    """Clear up what a killed run of this very output left; undo a half exchange."""
    partial, replaced = hidden(place, "partial"), hidden(place, "replaced")
    for leftover in (partial, replaced):
        if not _is_ours(leftover):
            raise UserError(f"{leftover} is in the way and was not made by {program}; move it")
    if replaced.exists() and not place.exists():
        replaced.rename(place)
    for leftover in (partial, replaced):
        _discard(leftover)


def _discard(folder: Path) -> None:
    """Delete a folder, the marker last: a kill on the way leaves what is known as ours."""
    with suppress(OSError):
        for path in [path for path in folder.iterdir() if path.name != MARKER]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        (folder / MARKER).unlink(missing_ok=True)
        folder.rmdir()


def _exchange(partial: Path, place: Path) -> None:
    """Rename `partial` to `place`; what is there takes its name, so that only a whole folder is
    ever called `replaced`, and is deleted with it.
    """
    replaced = hidden(place, "replaced")
    if place.exists():
        place.rename(replaced)
    try:
        partial.rename(place)
    except BaseException:
        if replaced.exists():
            replaced.rename(place)
        raise
    if replaced.exists():
        replaced.rename(partial)
