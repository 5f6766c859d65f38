"""One table in Markdown, HTML and LaTeX."""

import os
import re
import shutil
import subprocess

import pytest

from fusionchat.tables.table import Table, escape, html_table, latex, markdown

GROUPS = {"G_1": [["x|y <z>", "1"]], "": [["b", "2"]]}


SMALL = Table("A: a|b & c", ["Model", "50%|50%"], GROUPS, ["n_1"])


def test_markdown_keeps_its_columns():
    lines = [line for line in markdown(SMALL).splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert "x\\|y" in markdown(SMALL)


def test_html_escapes_everything():
    text = html_table(SMALL)
    assert "<z>" not in text
    assert "&lt;z&gt;" in text
    assert text.count("<tr") == text.count("</tr>")


def test_latex_escapes_everything():
    text = latex(SMALL, "tab:x")
    assert r"G\_1" in text
    assert r"50\%" in text
    assert escape("−±–") == r"$-$$\pm$--"
    assert re.search(r"(?<!\\)[%#]", text) is None


def test_latex_compiles(first, tmp_path):
    if shutil.which("pdflatex") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "pdflatex is not installed"
        )
    (tmp_path / "page.tex").write_text(
        "\\documentclass{article}\\usepackage[utf8]{inputenc}\\usepackage{booktabs}"
        f"\\begin{{document}}\\input{{{first / 'table1.tex'}}}\\end{{document}}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
