"""What differs between machines: folders that cannot be written, and locales."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import show_results

SCRIPTS = Path(show_results.__file__).parent
NOWHERE = "/proc/nowhere"  # where not even root can make a folder


def python(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize("module", ["alignment.dtw", "merging.kernels"])
def test_code_is_compiled_where_neither_clone_nor_home_can_be_written(module: str, tmp_path: Path):
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(SCRIPTS / "fusionchat", tmp_path / "fusionchat", ignore=ignore)
    (tmp_path / "fusionchat" / module.partition(".")[0] / "__pycache__").touch()
    program = f"import os, fusionchat.{module} as m; print(m.__file__)"
    program += "; print(os.environ['NUMBA_CACHE_DIR'])"
    clone = {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    run = python("-c", program, HOME=NOWHERE, XDG_CACHE_HOME="", **clone)
    assert run.returncode == 0, run.stderr
    file, cache = run.stdout.split()
    assert Path(file).is_relative_to(tmp_path)
    assert "fusionchat-numba-" in cache
    assert not Path(cache).exists()


def test_a_place_that_can_be_written_is_left_to_numba():
    run = python("-c", "import os, fusionchat.alignment; print(os.environ.get('NUMBA_CACHE_DIR'))")
    assert run.stdout.split() == [os.environ.get("NUMBA_CACHE_DIR", "None")]


def test_a_locale_without_the_minus_sign_prints_a_table(tmp_path: Path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "table1.md").write_text("## T\n\n| \u2212 1 |\n", encoding="utf-8")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    run = python(
        str(SCRIPTS / "show_results.py"),
        f"--run={tmp_path}",
        PYTHONIOENCODING="ascii",
        **ascii_only,
    )
    assert run.returncode == 0, run.stderr
    assert "| \\u2212 1 |" in run.stdout
