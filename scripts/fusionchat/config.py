"""Checking a run's configuration before any job starts, and filling in the schema's defaults."""

import copy
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from fusionchat.checks.faults import faults
from fusionchat.errors import UserError
from fusionchat.files import atomic_file
from fusionchat.readers.yaml import read_yaml
from fusionchat.schema import Config, schema

EXPONENT = re.compile(r"[+-]?\d+[eE][+-]?\d+")


def read_config(files: Sequence[str | Path], settings: Sequence[str] = ()) -> Config:
    """The configuration of a run, checked, from its files and KEY=VALUE settings.

    Later files and settings are laid over earlier ones by Snakemake's own rules.
    """
    config: Config = {}
    for file in files:
        lay_over(config, read_yaml(file))
    if settings:
        from snakemake.cli import parse_config

        try:
            lay_over(config, parse_config(settings))
        except ValueError as error:
            raise UserError(f"--config: {error}") from error
    return checked(config)


def lay_over(config: Config, more: Config) -> None:
    """Merge as Snakemake does: mappings key by key, everything else as a whole."""
    for key, value in more.items():
        below = config.get(key)
        if isinstance(value, dict):
            config[key] = below if isinstance(below, dict) else {}
            lay_over(config[key], value)
        else:
            config[key] = value


def save_config(path: str | Path, config: Config) -> None:
    """Write a configuration as YAML, its keys in their order."""
    plain = json.loads(json.dumps(config))  # Snakemake's mappings are of several kinds
    with atomic_file(path) as partial:
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)
        partial.write_text(text, encoding="utf-8")


def checked(config: Config) -> Config:
    """A copy of `config` with defaults filled in.

    The first fault found raises a `UserError` that names the key and what is allowed there.
    """
    rules = schema()
    validator = Draft202012Validator(rules)
    error = best_match(validator.iter_errors(config))
    if error is not None:
        raise UserError(f"config: {_describe(error)}")
    filled = copy.deepcopy(config)
    _fill(filled, rules, rules)
    filled["training"].setdefault("gpu", int(filled["device"] == "cuda"))
    _resize(filled)
    for fault in faults(filled):
        raise UserError(f"config: {fault}")
    return filled


def _key(error: ValidationError) -> str:
    return ".".join(str(part) for part in error.absolute_path) or "top level"


def _describe(error: ValidationError) -> str:
    """One line: where, what is wrong, what is allowed."""
    key = _key(error)
    if error.validator == "type" and EXPONENT.fullmatch(str(error.instance)):
        return f"{key}: {error.instance!r} is text in YAML; write it with a point, as in 5.0e-6"
    if error.validator == "additionalProperties":
        allowed = ", ".join(sorted(error.schema.get("properties", {})))
        unknown = ", ".join(repr(k) for k in error.instance if k not in error.schema["properties"])
        return f"{key}: unknown key {unknown}; allowed are {allowed}"
    if error.validator == "enum":
        allowed = ", ".join(map(str, error.validator_value))
        return f"{key}: {error.instance!r} is not one of {allowed}"
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"{key}: the key {missing[0]!r} is missing"
    hint = error.schema.get("description") if isinstance(error.schema, dict) else None
    return f"{key}: {error.message}" + (f" ({hint})" if hint else "")


def _fill(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> None:
    """Insert the schema's defaults into `value`, in place."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if not isinstance(value, dict):
        return
    for name, part in schema.get("properties", {}).items():
        if name not in value and "default" in part:
            value[name] = copy.deepcopy(part["default"])
        if name in value:
            _fill(value[name], part, root)
    rest = schema.get("additionalProperties")
    if isinstance(rest, dict):
        for name in value.keys() - schema.get("properties", {}).keys():
            _fill(value[name], rest, root)


def _resize(config: Config) -> None:
    """Put each model's `pretrain.full` in the place of its small sizes, where asked for."""
    for model in config["models"].values() if config["full_shapes"] else ():
        if "pretrain" in model:
            model["pretrain"] |= model["pretrain"].get("full", {})
