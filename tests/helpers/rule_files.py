"""The rules as they are written, each with what it inherits by `use rule`."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEADER = re.compile(r"^(?:rule|use rule (\w+) as) (\w+)(?: with)?:$", re.MULTILINE)
SECTION = re.compile(r"^    (\w+):", re.MULTILINE)


def read_rules() -> dict[str, dict[str, str]]:
    """The sections of every rule that runs a program, by name; `doc` is its docstring."""
    rules: dict[str, dict[str, str]] = {}
    bases: dict[str, str] = {}
    for file in sorted((ROOT / "rules").glob("*.smk")):
        _, *parts = HEADER.split(file.read_text())
        for base, name, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            doc, *sections = SECTION.split(text)
            rules[name] = {
                "doc": doc.strip(),
                **dict(zip(sections[::2], sections[1::2], strict=True)),
            }
            bases[name] = base
    whole = {name: _inherited(name, rules, bases) for name in rules}
    return {name: sections for name, sections in whole.items() if "shell" in sections}


def _inherited(
    name: str, rules: dict[str, dict[str, str]], bases: dict[str, str]
) -> dict[str, str]:
    base = bases[name]
    return (_inherited(base, rules, bases) if base else {}) | rules[name]


def program_of(sections: dict[str, str]) -> str:
    """The program that a rule runs."""
    (name,) = re.findall(r'program\("(\w+)"\)', sections["input"])
    return name
