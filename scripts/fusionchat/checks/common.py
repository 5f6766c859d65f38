"""Faults that several parts of a configuration may have."""

from collections.abc import Collection, Iterator
from pathlib import Path

from fusionchat.schema import Config


def one_of(key: str, entry: Config, choices: Collection[str]) -> Iterator[str]:
    """Exactly one of some keys must be given."""
    given = [choice for choice in choices if choice in entry]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        yield f"{key}: give exactly one of {', '.join(choices)} (found {found})"


def unknown(key: str, name: str, known: Collection[str]) -> str:
    """A name that stands for nothing."""
    return f"{key}: {name!r} is not one of {', '.join(known)}"


def missing_file(key: str, entry: Config) -> Iterator[str]:
    """The last part of `key`, where the entry has it, must name a file."""
    path = entry.get(key.rpartition(".")[2])
    if path is not None and not Path(path).is_file():
        yield f"{key}: {path} is not a file"


def missing_folder(key: str, entry: Config) -> Iterator[str]:
    """The last part of `key`, where the entry has it, must name a folder."""
    path = entry.get(key.rpartition(".")[2])
    if path is not None and not Path(path).is_dir():
        yield f"{key}: {path} is not a folder"


def missing_model(key: str, entry: Config) -> Iterator[str]:
    """The last part of `key`, where the entry has it, must name a Hugging Face folder."""
    yield from missing_folder(key, entry)
    path = entry.get(key.rpartition(".")[2])
    if path is not None and not Path(path, "config.json").is_file():
        yield f"{key}: {path} has no config.json, so it is no Hugging Face folder"


def checkpoint(key: str, entry: Config) -> Iterator[str]:
    """A released checkpoint in the place of training or merging."""
    if "checkpoint" in entry:
        released = entry["checkpoint"]
        yield from one_of(f"{key}.checkpoint", released, ("path", "repo"))
        yield from missing_model(f"{key}.checkpoint.path", released)
