"""The files that decide a program's result are found from its imports."""

from pathlib import Path

from fusionchat.code_files import source_files


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_imports_are_followed_also_inside_functions_and_packages(tmp_path: Path):
    program = write(tmp_path / "merge.py", "import numpy\nfrom fusionchat import cli, varm\n")
    varm = write(
        tmp_path / "fusionchat" / "varm.py",
        "from fusionchat.files import x\ndef f():\n    from fusionchat.world.rules import rate\n",
    )
    package = write(tmp_path / "fusionchat" / "world" / "__init__.py", "")
    rules = write(tmp_path / "fusionchat" / "world" / "rules.py", "import fusionchat.varm\n")
    write(tmp_path / "fusionchat" / "cli.py", "")
    write(tmp_path / "fusionchat" / "files.py", "")
    write(tmp_path / "fusionchat" / "other.py", "")
    assert source_files(program) == sorted([program, varm, package, rules])
