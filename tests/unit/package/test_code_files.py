"""The files that decide a program's result are found from its imports."""

from pathlib import Path

from fusionchat.code_files import code_checksum, source_files


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


def test_the_checksum_changes_with_these_files_alone(tmp_path: Path):
    def checksum(program: str, module: str, other: str) -> str:
        write(tmp_path / "merge.py", f"from fusionchat import varm\n{program}")
        write(tmp_path / "fusionchat" / "varm.py", module)
        write(tmp_path / "fusionchat" / "other.py", other)
        code_checksum.cache_clear()
        return code_checksum(tmp_path / "merge.py")

    first = checksum("", "a = 1", "")
    assert checksum("", "a = 1", "b = 1") == first
    assert len({first, checksum("b = 1", "a = 1", ""), checksum("", "a = 2", "")}) == 3
