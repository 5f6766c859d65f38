"""The schema of the configuration: what a key may hold, and the only place of every default."""

from functools import cache
from pathlib import Path
from typing import Any

from fusionchat.readers.yaml import read_own_yaml

Config = dict[str, Any]
SCHEMA = Path(__file__).resolve().parents[2] / "schemas" / "config.schema.yaml"


@cache
def schema() -> Config:
    """The JSON schema as it is written."""
    content: Config = read_own_yaml(SCHEMA)
    return content


def part(key: str) -> Config:
    """What the schema says of a key, such as `training.epochs` or `models.*.gpu`.

    `*` stands for the names that a configuration chooses. An unknown key is a `KeyError`.
    """
    place = schema()
    for name in key.split("."):
        place = _resolved(place["additionalProperties" if name == "*" else "properties"], name)
    return place


def _resolved(parts: Config, name: str) -> Config:
    place: Config = parts if name == "*" else parts[name]
    if "$ref" in place:
        return schema()["$defs"][place["$ref"].rpartition("/")[2]] | place
    return place


def default(key: str) -> Any:
    """The default of a key; one without is a `KeyError`."""
    return part(key)["default"]
