"""What the jobs of each rule ask of a scheduler: the rules as they are written, and a profile."""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from fusionchat.errors import UserError
from fusionchat.files import read_text

_RULE = re.compile(r"^(?:rule|use rule (\w+) as) (\w+)(?: with)?:$", re.MULTILINE)
_LOCAL = re.compile(r"^localrules:\n((?:    \w+,\n)+)", re.MULTILINE)
_VALUE = r"^        {}=(.+),$"
_GROUP = re.compile(
    r'^    group:\n        "([^"]+)"(?: if len\(SHARDS\) > (\d+) else None)?$', re.MULTILINE
)
_LOAD = re.compile(r"^        group_load=(\d+),$", re.MULTILINE)
_UNITS = {"": 1, "m": 1, "min": 1, "h": 60, "d": 1440}
_TIME = re.compile(r"(\d+(?:\.\d+)?) ?([a-z]*)")


@dataclass(frozen=True)
class Request:
    """Of a rule's jobs: MB and minutes of the first attempt, and of the last one; 0 where the rule
    computes them itself. Of `together` jobs in a group the sums.
    """

    megabytes: int = 0
    most_megabytes: int = 0
    minutes: int = 0
    most_minutes: int = 0
    together: int = 1


def requests(
    folder: Path, profile: Mapping[str, Any], shards: int, mixtures: int = 1
) -> dict[str, Request]:
    """The rules whose jobs are submitted; what a profile sets for a rule stays at each attempt."""
    text = "\n".join(read_text(file) for file in sorted(folder.glob("*.smk")))
    doubled = 2 ** _whole("retries", profile.get("retries", 0))
    local = {name for block in _LOCAL.findall(text) for name in re.findall(r"\w+", block)}
    _, *parts = _RULE.split(text)
    bases = dict(zip(parts[1::3], parts[::3], strict=True))
    bodies = dict(zip(parts[1::3], parts[2::3], strict=True))
    found = {}
    for name, base in bases.items():
        body = bodies[name]
        while base:  # what a rule says itself comes first
            body, base = body + bodies[base], bases[base]
        if name in local or re.search(r"^    localrule:", body, re.MULTILINE):
            continue
        given = resources(profile, name)
        memory = _asked(body, "mem_mb", shards, doubled)
        minutes = _asked(body, "runtime", shards, doubled)
        if "mem_mb" in given:
            memory = (_number(given["mem_mb"]),) * 2
        if "runtime" in given:
            minutes = (_number(given["runtime"]),) * 2
        together, abreast = _group(name, body, profile, shards, mixtures)
        wide, deep = min(abreast, together), ceil(together / abreast)
        (first, most), (soon, late) = memory, minutes
        found[name] = Request(first * wide, most * wide, soon * deep, late * deep, together)
    return found


def _group(
    rule: str, body: str, profile: Mapping[str, Any], shards: int, mixtures: int
) -> tuple[int, int]:
    """How many jobs of a rule go to the queue together, and how many of them run side by side.

    As Snakemake counts, those add up their memory, and others their time.
    """
    match = _GROUP.search(body)
    by_rule = match[1] if match and shards > int(match[2] or 0) else None
    name = section(profile, "groups").get(rule, by_rule)
    if name is None:
        return 1, 1
    sizes, widths = section(profile, "group-components"), section(profile, "resources")
    size = _whole(f"group-components: {name}", sizes.get(name, 1))
    width = _whole("resources: group_load", widths.get("group_load", 0))
    load = _LOAD.search(body)
    abreast = width // int(load[1]) if width and load else size
    return max(1, min(size, shards * mixtures)), max(1, abreast)


def _whole(key: str, value: object) -> int:
    """A whole number of a profile."""
    if not str(value).isdigit():
        raise UserError(f"profile: {key}: {str(value)!r} is not a whole number")
    return int(str(value))


def _asked(body: str, key: str, shards: int, doubled: int) -> tuple[int, int]:
    """What a rule asks for at first and at last: a number, or one that doubles up to a cap."""
    match = re.search(_VALUE.format(key), body, re.MULTILINE)
    tree = ast.parse(match[1], mode="eval").body if match else None
    values = [
        _value(node, shards) for node in (tree.args if isinstance(tree, ast.Call) else [tree])
    ]
    if not all(values) or not values:
        return 0, 0
    return values[0], min(values[0] * doubled, values[-1])


def _value(node: ast.expr | None, shards: int) -> int:
    """A number as the rules write it; `each_shard` divides a mixture's minutes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "each_shard":
        total = _value(node.args[0], shards)
        return max(30, min(total // 8, total // shards))
    return 0


def _number(value: object) -> int:
    """MB or minutes as a profile says them: a number, or a time such as 4h; 0 for an expression."""
    match = _TIME.fullmatch(plain(value).lower())
    return int(float(match[1]) * _UNITS.get(match[2], 0)) if match else 0


def plain(value: object) -> str:
    """A resource as Snakemake takes it: without the quotes that keep it from being evaluated."""
    return str(value).strip("'\"")


def resources(profile: Mapping[str, Any], rule: str) -> dict[str, Any]:
    """What a profile sets for a rule's jobs: the defaults but for memory and time, which all rules
    have themselves, and the rule's own.
    """
    usual = section(profile, "default-resources")
    kept = {key: value for key, value in usual.items() if key not in ("mem_mb", "runtime")}
    own = section(profile, "set-resources").get(rule, {})
    if not isinstance(own, Mapping):
        raise UserError(f"profile: set-resources.{rule} has no keys below it (`mem_mb: 8000`)")
    return kept | dict(own)


def gpus(profile: Mapping[str, Any], rule: str, needed: int = 0) -> tuple[int, str | None]:
    """GPUs on a node that a rule's jobs ask for under a profile, and their kind if it names one.

    A profile may write `gpu_model: a100`, or `gres: gpu:a100:4` with `gpu: 0`.
    """
    given = {key: plain(value) for key, value in resources(profile, rule).items()}
    for word in given.get("gres", "").split(","):
        name, *parts = word.split(":")
        if name == "gpu":
            count = int(parts.pop()) if parts and parts[-1].isdigit() else 1
            return count, parts[0] if parts else given.get("gpu_model")
    count = int(given["gpu"]) if given.get("gpu", "").isdigit() else needed
    return count, given.get("gpu_model")


def section(profile: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Resources of a profile, which may write them as keys or as a list of words.

    The words are NAME=VALUE of the defaults, and RULE:NAME=VALUE of single rules.
    """
    content = profile.get(key) or {}
    if isinstance(content, Mapping):
        return dict(content)
    words = content if isinstance(content, list) else str(content).split()
    found: dict[str, Any] = {}
    for word in map(str, words):
        name, equals, value = word.partition("=")
        rule, colon, resource = name.partition(":")
        if not equals or bool(colon) != (key == "set-resources"):
            raise UserError(
                f"profile: {key}: {word!r} is not of the form {'RULE:' * bool(colon)}NAME=VALUE"
            )
        if colon:
            found.setdefault(rule, {})[resource] = value
        else:
            found[name] = value
    return found


def unedited(profile: Mapping[str, Any]) -> list[str]:
    """Resources that still say EDIT, by their place in the profile."""
    rules = {
        f"set-resources.{rule}": own for rule, own in section(profile, "set-resources").items()
    }
    places = {"default-resources": section(profile, "default-resources")} | rules
    return [
        f"{place}.{key}"
        for place, values in places.items()
        if isinstance(values, Mapping)
        for key, value in values.items()
        if plain(value) == "EDIT"
    ]
