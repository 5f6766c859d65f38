"""What CONTRIBUTING.md shows fits the code; its examples were followed word for word by hand."""

import ast
import re
import textwrap
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PARTS = (ROOT / "CONTRIBUTING.md").read_text().split("\n## ")
EXAMPLES = {part.partition("\n")[0]: part for part in PARTS if part.startswith("Example: ")}


def blocks(text: str) -> list[str]:
    return [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]


@pytest.mark.parametrize("title", EXAMPLES)
def test_examples_import_what_there_is(title):
    text = EXAMPLES[title]
    for block in blocks(text):
        if block.startswith("use rule"):
            continue
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("fusionchat"):
                file = f"scripts/{str(node.module).replace('.', '/')}.py"
                folder = ROOT / file.removesuffix(".py") / "__init__.py"
                assert (ROOT / file).exists() or folder.exists() or f"`{file}`" in text


@pytest.mark.parametrize("title", EXAMPLES)
def test_files_that_follow_the_demos_configuration_are_named(title):
    """The ablations vary one setting of the demo, so a test holds these sections equal."""
    text = EXAMPLES[title]
    demo, ablations = (
        yaml.safe_load((ROOT / name).read_text())
        for name in ("config.yaml", "configs/ablations.yaml")
    )
    keys = {"judges": "mt_bench", "architecture": "models"}
    for key, section in keys.items():
        if re.search(rf"`config\.yaml`[^.]*`{key}", text):
            assert demo[section] == ablations[section]
            assert "`configs/ablations.yaml`" in text
