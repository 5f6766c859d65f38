"""The package's layers: no import goes up, none goes round, and no folder is crowded."""

from graphlib import TopologicalSorter
from pathlib import Path

import draw_architecture
import fusionchat
from fusionchat.code_files import LAYERS, imported_files, part_imports

PACKAGE = Path(fusionchat.__file__).parent
LEVELS = {part: level for level, parts in enumerate(LAYERS.values()) for part in parts}
MOST = 15  # modules side by side


def test_every_part_has_one_layer():
    parts = [part for parts in LAYERS.values() for part in parts]
    assert len(set(parts)) == len(parts)
    assert set(parts) == part_imports(PACKAGE).keys()


def test_no_import_goes_up():
    upward = {
        f"{part} -> {other}"
        for part, others in part_imports(PACKAGE).items()
        for other in others
        if LEVELS[other] > LEVELS[part]
    }
    assert not upward


def test_no_import_goes_round():
    """Neither among the parts nor among the modules, imports inside functions included."""
    tuple(TopologicalSorter(part_imports(PACKAGE)).static_order())  # raises CycleError
    modules = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    tuple(TopologicalSorter({m: imported_files(m, PACKAGE) for m in modules}).static_order())


def test_no_folder_is_crowded():
    folders = [PACKAGE, *(path.parent for path in PACKAGE.rglob("__init__.py"))]
    crowded = {
        folder.name: count
        for folder in folders
        if (count := sum(path.name != "__init__.py" for path in folder.glob("*.py"))) > MOST
    }
    assert not crowded


def test_only_the_command_line_knows_argparse_s_namespace():
    """The library is called with dataclasses of options."""
    users = [p.name for p in PACKAGE.rglob("*.py") if "Namespace" in p.read_text(encoding="utf-8")]
    assert users == ["cli.py"]


def test_the_picture_is_that_of_the_code():
    drawn = draw_architecture.build_parser().get_default("output").read_text()
    now = draw_architecture.picture(LAYERS, part_imports(PACKAGE))
    assert drawn == now, "draw it again: make architecture"
