"""Which source files decide a program's result: the program and the modules that it imports."""

import ast
from functools import cache
from pathlib import Path

PACKAGE = "fusionchat"

# Editing these changes what a person sees while a program runs, never what it computes.
PRESENTATION = frozenset({"cli", "errors", "progress", "files", "output_folder"})


def source_files(program: Path) -> list[Path]:
    """The program and, transitively, the package's modules that it imports; sorted, unique."""
    package = program.parent / PACKAGE
    found, waiting = {program}, [program]
    while waiting:
        for module in _imports(waiting.pop(), package):
            if module not in found:
                found.add(module)
                waiting.append(module)
    return sorted(found)


@cache
def _imports(path: Path, package: Path) -> tuple[Path, ...]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    inside = (name.split(".")[1:] for name in names if name.split(".")[0] == PACKAGE)
    return tuple(
        module
        for parts in inside
        if parts and parts[0] not in PRESENTATION
        for module in _module_files(package, parts)
    )


def _module_files(package: Path, parts: list[str]) -> list[Path]:
    """The files that importing `fusionchat.a.b` runs below the package's own `__init__`."""
    files = []
    for depth in range(1, len(parts) + 1):
        base = package.joinpath(*parts[:depth])
        files += [base.with_suffix(".py"), base / "__init__.py"]
    return [file for file in files if file.is_file()]
