"""Faults that several parts of a configuration may have."""

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from os.path import isdir, isfile
from pathlib import Path

from fusionchat.errors import UserError
from fusionchat.files import read_json_object
from fusionchat.schema import Config


def one_of(key: str, entry: Config, choices: Collection[str]) -> Iterator[str]:
    """Exactly one of some keys must be given."""
    given = [choice for choice in choices if choice in entry]
    if len(given) != 1:
        present = " and ".join(given) or "none"
        yield f"{key}: give exactly one of {', '.join(choices)} (found {present})"


def unknown(key: str, name: str, known: Collection[str]) -> str:
    """A name that stands for nothing."""
    return f"{key}: {name!r} is not one of {', '.join(known) or '(none)'}{suggestion(name, known)}"


def suggestion(name: str, known: Collection[str]) -> str:
    """The end of a sentence: the known name that was probably meant, if one is near."""
    near = get_close_matches(str(name), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def missing_file(key: str, entry: Config) -> Iterator[str]:
    """The last part of `key`, where the entry has it, must name a file."""
    path = entry.get(key.rpartition(".")[2])
    if path is not None and not isfile(path):
        yield f"{key}: {path} is not a file{home(path)}{_out_of_reach(path)}"


def missing_folder(key: str, entry: Config) -> Iterator[str]:
    """The last part of `key`, where the entry has it, must name a folder."""
    path = entry.get(key.rpartition(".")[2])
    if path is not None and not isdir(path):
        yield f"{key}: {path} is not a folder{home(path)}{_out_of_reach(path)}"


def home(path: str) -> str:
    """The remedy for a shell's sign of the home folder, which a configuration does not know."""
    return "; write the home folder's path in place of ~" if path.startswith("~") else ""


def _out_of_reach(path: str) -> str:
    """The end of a sentence: why a path cannot be followed, where that is not plain to see."""
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return ""
    except OSError as error:
        return f" that can be reached: {error.strerror}"
    return ""


def missing_model(key: str, entry: Config) -> Iterator[str]:
    """The last part of `key`, where the entry has it, must name a Hugging Face folder."""
    yield from missing_folder(key, entry)
    path = entry.get(key.rpartition(".")[2])
    if path is None:
        return
    if not isfile(Path(path, "config.json")):
        yield f"{key}: {path} has no config.json, so it is no Hugging Face folder"
        return
    yield from unreadable(key, Path(path, "config.json"))
    if not any(Path(path).glob("*.safetensors")):
        pickled = any(Path(path).glob("*.bin"))
        remedy = "; scripts/convert_checkpoint.py makes them of its .bin files" if pickled else ""
        yield f"{key}: {path} has no *.safetensors files{remedy}"


def unreadable(key: str, path: Path) -> Iterator[str]:
    """A JSON file with keys, which must be one."""
    try:
        read_json_object(path)
    except (UserError, OSError) as error:
        yield f"{key}: {error}"


def checkpoint(key: str, entry: Config) -> Iterator[str]:
    """A released checkpoint in place of training or merging."""
    if "checkpoint" in entry:
        released = entry["checkpoint"]
        yield from one_of(f"{key}.checkpoint", released, ("path", "repo"))
        yield from missing_model(f"{key}.checkpoint.path", released)
