"""Folders, links and files that a program must not touch when they stand where it would write."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from fusionchat.files import MANIFEST, MARKER

PRECIOUS = "nobody else has this"


def precious(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PRECIOUS)


def made_by(folder: Path, program: str, *files: str) -> None:
    """A folder as `program` of this package leaves it."""
    for name in files:
        precious(folder / name)
    facts = {"package": "fusionchat", "program": program, "files": list(files)}
    (folder / MARKER).write_text(json.dumps(facts))
    (folder / MANIFEST).write_text(json.dumps({**facts, "files": dict.fromkeys(files, "0" * 64)}))


def of_another_program(output: Path, program: str) -> None:
    made_by(output, "report" if program != "report" else "answer", "model.safetensors")


def with_somebodys_file(output: Path, program: str) -> None:
    made_by(output, program, "model.safetensors")
    precious(output / "notes" / "thoughts.md")


def with_somebodys_link(output: Path, program: str) -> None:
    made_by(output, program, "model.safetensors")
    precious(output.parent / "elsewhere" / "data.bin")
    (output / "data").symlink_to(output.parent / "elsewhere")


def text(name: str, content: str) -> Callable[[Path, str], None]:
    def build(output: Path, program: str) -> None:
        precious(output / "weights.bin")
        (output / name).write_text(content)

    return build


def link(output: Path, program: str) -> None:
    precious(output.parent / "disk" / "weights.bin")
    output.symlink_to(output.parent / "disk")


def link_to_itself(output: Path, program: str) -> None:
    output.symlink_to(output)


def links_to_each_other(output: Path, program: str) -> None:
    output.symlink_to(output.with_name("other"))
    output.with_name("other").symlink_to(output)


def link_to_a_file(output: Path, program: str) -> None:
    precious(output.with_name("thesis.tex"))
    output.symlink_to(output.with_name("thesis.tex"))


def lock_that_is_a_link(output: Path, program: str) -> None:
    output.with_name(f".{output.name}.lock").symlink_to(output.with_name("not there"))


def neighbour(kind: str) -> Callable[[Path, str], None]:
    def build(output: Path, program: str) -> None:
        precious(output.with_name(f".{output.name}.{kind}") / "weights.bin")

    return build


ENDANGERED: dict[str, Callable[[Path, str], None]] = {
    "folder": lambda output, program: precious(output / "thesis.tex"),
    "hidden files": lambda output, program: precious(output / ".git" / "config"),
    "deep file": lambda output, program: precious(output / "a" / "b" / "c.txt"),
    "card with the tag merge": text("README.md", "---\ntags:\n- merge\n- varm\n---\n"),
    "manifest of another tool": text(MANIFEST, '{"files": {"weights.bin": "0"}}'),
    "manifest that is no JSON": text(MANIFEST, "{"),
    "manifest that is a list": text(MANIFEST, '["fusionchat"]'),
    "another program's": of_another_program,
    "its own with somebody's file": with_somebodys_file,
    "its own with somebody's link": with_somebodys_link,
    "file": lambda output, program: precious(output),
    "link": link,
    "link to itself": link_to_itself,
    "links to each other": links_to_each_other,
    "link to a file": link_to_a_file,
    "pipe": lambda output, program: os.mkfifo(output),
    "name of the unfinished folder": neighbour("partial"),
    "name of the replaced folder": neighbour("replaced"),
    "lock that is a link": lock_that_is_a_link,
    "name of the lock": lambda output, program: precious(output.with_name(f".{output.name}.lock")),
}


def tree(folder: Path) -> dict[str, str]:
    """Everything below a folder: files with their content, links with their target, folders."""
    contents = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root, name)
            if path.is_symlink():
                content = f"-> {path.readlink()}"
            elif path.is_file():
                content = path.read_bytes().hex()
            else:
                content = "folder" if path.is_dir() else "pipe"
            contents[str(path.relative_to(folder))] = content
    return contents
