"""Which modules import which: the files that decide a result, and the layers of the package."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = "fusionchat"

# Editing these changes what a person sees while a program runs, never what it computes.
PRESENTATION = frozenset({"cli", "errors", "progress", "files", "schema", "output_folder", "locks"})

# From the bottom to the top; a part imports from its own layer and those below it.
LAYERS = {
    "basics": ("errors", "hardware", "categories", "progress", "replicates"),
    "files and options": (
        "files",
        "locks",
        "output_folder",
        "readers",
        "schema",
        "cli",
        "code_files",
    ),
    "models and dialogues": ("models", "dialogues", "world"),
    "distributions": ("logits", "alignment", "fusion"),
    "weights": ("training", "merging"),
    "benchmark": ("leaderboard", "scores", "mt_bench"),
    "report": ("tables", "figures", "page", "pairwise", "alpaca_eval"),
    "experiment": ("checks", "config", "experiment", "origins", "command_words", "maps"),
    "plan": ("cluster",),
}


def source_files(program: Path) -> list[Path]:
    """The program and, transitively, the package's modules that it imports; sorted, unique."""
    package = program.parent / PACKAGE
    files, waiting = {program}, [program]
    while waiting:
        for module in imported_files(waiting.pop(), package):
            if module not in files and part_of(module, package) not in PRESENTATION:
                files.add(module)
                waiting.append(module)
    return sorted(files)


@cache
def code_checksum(program: Path) -> str:
    """Changes when one of the program's source files is edited, renamed, added or removed."""
    digest = hashlib.sha256()
    for file in source_files(program):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(program.parent)} {content}\n".encode())
    return digest.hexdigest()


def part_of(module: Path, package: Path) -> str:
    """The folder of the package that a module is in, or the module where it is in none."""
    return module.relative_to(package).parts[0].removesuffix(".py")


@cache
def imported_files(path: Path, package: Path) -> tuple[Path, ...]:
    """The package's modules that a file imports, at its top or when a function runs."""
    names = set()
    for node in _statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    inside = (name.split(".")[1:] for name in names if name.split(".")[0] == PACKAGE)
    return tuple(module for parts in inside if parts for module in _module_files(package, *parts))


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements below a node; expressions, most of a program, hold no import."""
    for name in ("body", "orelse", "handlers", "finalbody", "cases"):
        below = getattr(node, name, ())
        for child in below if isinstance(below, list) else ():
            yield child
            yield from _statements(child)


def part_imports(package: Path) -> dict[str, set[str]]:
    """The other parts of the package that each of its parts imports."""
    imports: dict[str, set[str]] = {}
    for path in package.rglob("*.py"):
        part = part_of(path, package)
        others = {part_of(module, package) for module in imported_files(path, package)}
        imports.setdefault(part, set()).update(others - {part})
    imports.pop("__init__", None)
    return imports


@cache
def _module_files(package: Path, *parts: str) -> list[Path]:
    """The files that importing `fusionchat.a.b` runs below the package's own `__init__`."""
    files = []
    for depth in range(1, len(parts) + 1):
        base = package.joinpath(*parts[:depth])
        files += [base.with_suffix(".py"), base / "__init__.py"]
    return [file for file in files if file.is_file()]
