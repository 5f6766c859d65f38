"""Tasks of lm-evaluation-harness by name, without its index of thousands, which takes seconds."""

import os
from collections.abc import Collection, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from fusionchat.checks.common import suggestion

WORLD = ("world_choice", "world_number")  # of the generated world, see `fusionchat.world.tasks`


def unknown_tasks(tasks: Sequence[str], folders: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each task that no YAML file speaks of, with the likeliest name as the end of a sentence.

    Read are the user's `folders` and the harness, if it is installed here; else nothing is said.
    """
    package = find_spec("lm_eval")
    if package is None or package.origin is None or not tasks:
        return
    own = [path for folder in folders for path in Path(folder).rglob("*.y*ml")]
    left = set(_unnamed(tasks, own))
    harness, names = _files(Path(package.origin).parent / "tasks")
    for task in _unnamed(sorted(left - names), harness):
        yield task, suggestion(task, names)


def _files(folder: Path) -> tuple[list[Path], set[str]]:
    """All YAML files below a folder, and the names of files and folders, which most tasks have."""
    files, names = [], set()
    for place, _, here in os.walk(folder):
        names.add(os.path.basename(place))
        for file in here:
            if file.endswith(".yaml"):
                files.append(Path(place, file))
                names.add(file.removesuffix(".yaml").lstrip("_"))
    return files, names


def _unnamed(tasks: Collection[str], files: Sequence[Path]) -> Collection[str]:
    """The tasks whose names stand in none of the files."""
    left = {task: task.encode() for task in tasks}
    for file in files:
        if not left:
            break
        content = file.read_bytes()
        left = {task: name for task, name in left.items() if name not in content}
    return left
