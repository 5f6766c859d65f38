"""Checking a run's configuration before any job starts, and filling in the schema's defaults."""

import copy
import json
import re
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError, best_match

from fusionchat.checks.common import suggestion
from fusionchat.checks.faults import faults
from fusionchat.errors import UserError
from fusionchat.files import atomic_file
from fusionchat.readers.yaml import line_of, read_yaml
from fusionchat.schema import Config, schema

EXPONENT = re.compile(r"[+-]?\d+\.?\d*[eE][+-]?\d+")
NOTHING: Config = {}
KINDS = {
    "object": "keys with values",
    "array": "a list",
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
}
COMMAND_LINE = "--config"
NESTED = (
    "Snakemake takes what is nested in --config for text; write it into a YAML file, and name that "
    "behind --configfile"
)
OVERLAY = "; what changes a configuration stands behind it, both behind one --configfile"
# 3.0 counts as an integer in JSON's schemas; a program's `--epochs 3.0` does not.
Validator = validators.extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: type(value) is int
    ),
)


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
            given: Config = parse_config(settings)
        except ValueError as error:
            raise UserError(f"{COMMAND_LINE}: {error}") from error
        lay_over(config, given)
        return checked(config, files, given)
    return checked(config, files)


def lay_over(config: Config, more: Config) -> None:
    """Merge as Snakemake does: mappings key by key, everything else as a whole."""
    for key, value in more.items():
        below = config.get(key)
        if isinstance(value, dict):
            config[key] = below if isinstance(below, dict) else {}
            lay_over(config[key], value)
        else:
            config[key] = value


def config_text(config: Config) -> str:
    """A configuration as YAML, its keys in their order."""
    plain = json.loads(json.dumps(config))  # Snakemake's mappings are of several kinds
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)


def save_config(path: str | Path, config: Config) -> None:
    """Write a configuration as YAML."""
    with atomic_file(path) as partial:
        partial.write_text(config_text(config), encoding="utf-8")


def checked(config: Config, files: Sequence[str | Path] = (), settings: Config = NOTHING) -> Config:
    """A copy of `config` with defaults filled in.

    The first fault found raises a `UserError` that names the key and what is allowed there, and of
    the `files` and `settings` that the configuration was laid together from, the place.
    """
    rules = schema()
    validator = Validator(rules)
    error = best_match(validator.iter_errors(config))
    if error is not None:
        key = [str(part) for part in error.absolute_path]
        place = _place(files, settings, [*key, *_wrong_names(error)])
        nested = place == COMMAND_LINE and len(key) > 1
        text = error.validator == "type" and isinstance(error.instance, str)
        fault = NESTED if nested and text else _describe(error)
        raise UserError(f"{place}: {'.'.join(key) or 'top level'}: {fault}")
    filled = copy.deepcopy(config)
    _fill(filled, rules, rules)
    for part in (filled["training"], *filled["models"].values(), *filled["comparisons"].values()):
        part.setdefault("gpu", int(filled["device"] == "cuda"))
    _resize(filled)
    for fault in faults(filled):
        key = fault.partition(": ")[0].split(".")
        raise UserError(f"{_place(files, settings, key)}: {fault}")
    return filled


def _place(files: Sequence[str | Path], settings: Config, key: Sequence[str]) -> str:
    """Where most of a key's parts stand: a line of the last such file, or the command line."""
    if not files:
        return "config"
    depth, line, file = max(
        ((*line_of(file, key), file) for file in reversed(files)), key=lambda place: place[0]
    )
    given, place = 0, settings
    while given < len(key) and isinstance(place, dict) and key[given] in place:
        place, given = place[key[given]], given + 1
    if given and given >= depth:
        return COMMAND_LINE
    return f"{file}, line {line}" if depth else str(file)


def _wrong_names(error: ValidationError) -> list[str]:
    """The name that is wrong itself, where not what stands behind it is."""
    if error.validator == "additionalProperties":
        return [name for name in error.instance if name not in error.schema["properties"]][:1]
    return [str(error.instance)] if "propertyNames" in error.absolute_schema_path else []


def _describe(error: ValidationError) -> str:
    """What is wrong and what is allowed, in one line."""
    value, rule = reprlib.repr(error.instance), error.validator_value
    hint = error.schema.get("description")
    hint = f" ({hint})" if hint else ""
    match error.validator:
        case "type" if EXPONENT.fullmatch(str(error.instance)):
            return f"{value} is text in YAML; write it with a point and a sign, as in 5.0e-6"
        case "type" if error.instance is None:
            return f"is empty; it needs {KINDS[rule]}{hint}"
        case "type":
            return f"{value} is not {KINDS[rule]}{_quote(error.instance, rule)}{hint}"
        case "additionalProperties":
            (name,), known = _wrong_names(error), sorted(error.schema["properties"])
            return f"unknown key {name!r}; allowed are {', '.join(known)}{suggestion(name, known)}"
        case "enum":
            known = [str(choice) for choice in rule]
            return f"{value} is not one of {', '.join(known)}{suggestion(error.instance, known)}"
        case "required":
            missing = next(name for name in rule if name not in error.instance)
            return f"the key {missing!r} is missing{'' if error.absolute_path else OVERLAY}"
        case "pattern" if hint:
            return f"{value} is not allowed here{hint}"
        case "exclusiveMinimum":
            return f"{value} is not above {rule}{hint}"
        case "maxLength":
            return f"{value} is longer than {rule} characters{hint}"
        case "minProperties" | "minItems":
            return f"needs at least {rule}{hint}, has {len(error.instance)}"
    return f"{error.message}{hint}"


def _quote(value: Any, rule: str) -> str:
    """The remedy where YAML takes for something else what was meant as text."""
    if rule != "string" or isinstance(value, str | dict | list):
        return ""
    taken = "YAML takes yes, no, on and off for true and false; " * isinstance(value, bool)
    return f"; {taken}put it in quotes"


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
    """Put each model's `pretrain.full` in place of its small sizes, where asked for."""
    for model in config["models"].values() if config["full_shapes"] else ():
        if "pretrain" in model:
            model["pretrain"] |= model["pretrain"].get("full", {})
