"""The ledger of divergences names tests; they must be there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LEDGER = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", LEDGER)))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_named_test_exists(path, name):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf"^def {name}\(", text, re.MULTILINE), f"{path} has no {name}"


def test_every_entry_has_five_cells_and_its_own_number():
    entries = [line for line in LEDGER.splitlines() if re.match(r"\| [A-Z]\d+ \|", line)]
    assert len(entries) > 40
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 6 for line in entries)
    numbers = [line.split("|")[1].strip() for line in entries]
    assert len(set(numbers)) == len(numbers)
