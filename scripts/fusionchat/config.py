"""Checking a run's configuration before any job starts, and filling in the schema's defaults."""

import copy
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from fusionchat.errors import UserError
from fusionchat.files import atomic_file
from fusionchat.mt_bench.endpoint.secrets import check_base_url, check_headers
from fusionchat.readers.yaml import read_yaml
from fusionchat.replicates import split_replicate

Config = dict[str, Any]
SCHEMA = Path(__file__).resolve().parents[2] / "schemas" / "config.schema.yaml"


@cache
def schema() -> dict[str, Any]:
    """What a configuration may say, and every default."""
    return read_yaml(SCHEMA)


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
    _resize(filled)
    for fault in _cross_references(filled):
        raise UserError(f"config: {fault}")
    return filled


def _key(error: ValidationError) -> str:
    return ".".join(str(part) for part in error.absolute_path) or "top level"


def _describe(error: ValidationError) -> str:
    """One line: where, what is wrong, what is allowed."""
    key = _key(error)
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


def _cross_references(config: Config) -> Iterator[str]:
    """What a JSON schema cannot say: names that must exist, choices that exclude each other."""
    yield from _data(config["data"])
    yield from _models(config)
    yield from _targets(config)
    yield from _tails(config)
    yield from _merges(config)
    yield from _comparisons(config)
    yield from _training(config["training"])
    yield from _sweeps(config)
    yield from _benchmark(config["mt_bench"])


def _one_of(key: str, value: dict[str, Any], choices: tuple[str, ...]) -> Iterator[str]:
    given = [choice for choice in choices if choice in value]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        yield f"{key}: give exactly one of {', '.join(choices)} (found {found})"


def _unknown(key: str, name: str, known: list[str]) -> str:
    return f"{key}: {name!r} is not one of {', '.join(known)}"


def _models(config: Config) -> Iterator[str]:
    models = config["models"]
    if config["pivot"] not in models:
        yield _unknown("pivot", config["pivot"], list(models))
    for name, model in models.items():
        yield from _one_of(f"models.{name}", model, ("pretrain", "path", "repo"))
        if "pretrain" in model and "world" not in config["data"]:
            yield f"models.{name}.pretrain: needs data.world to train on"
        shape = model.get("pretrain", {})
        if shape.get("dtype") == "bfloat16" and shape["steps"]:
            yield f"models.{name}.pretrain.dtype: weights are trained in float32; steps must be 0"
        if "remote_code" in model and "repo" not in model:
            yield f"models.{name}.remote_code: only for a model with repo"
        commits = {model[key] for key in ("revision", "remote_code") if key in model}
        if len(commits) > 1:
            yield f"models.{name}.revision: differs from remote_code, the commit that you read"
        if "path" in model and not Path(model["path"]).is_dir():
            yield f"models.{name}.path: {model['path']} is not a folder"
        if "logits" in model:
            yield from _released_dump(f"models.{name}.logits", model)


def _released_dump(key: str, model: Config) -> Iterator[str]:
    if "pretrain" in model:
        yield f"{key}: not for a model that the run trains itself"
    if not Path(model["logits"]).is_dir():
        yield f"{key}: {model['logits']} is not a folder"


def _data(data: Config) -> Iterator[str]:
    yield from _one_of("data", data, ("world", "path", "repo"))
    if "path" in data and not Path(data["path"]).is_file():
        yield f"data.path: {data['path']} is not a file"
    if "repo" in data and "file" not in data:
        yield "data.file: name the file of the dataset to take"
    for name, variant in data.get("world", {}).get("variants", {}).items():
        most = data["world"]["mixture"] - data["heldout"]
        if variant.get("dialogues", 0) > most:
            yield (
                f"data.world.variants.{name}.dialogues: the mixture has {most} dialogues that are "
                "not held out"
            )


def _targets(config: Config) -> Iterator[str]:
    pivot = config["pivot"]
    teachers = [name for name in config["models"] if name != pivot]
    for name, target in config["targets"].items():
        if name in config["models"]:
            yield f"targets.{name}: the name is already a model's; choose another"
        if pivot in target["sources"] and len(target["sources"]) > 1:
            yield (
                f"targets.{name}.sources: the pivot {pivot} competes in every fusion; name it "
                "alone (the Self control) or not at all"
            )
        for source in target["sources"]:
            if source not in (*teachers, pivot):
                yield _unknown(f"targets.{name}.sources", source, teachers)
        if "checkpoint" in target:
            yield from _one_of(f"targets.{name}.checkpoint", target["checkpoint"], ("path", "repo"))
        variants = config["data"].get("world", {}).get("variants", {})
        if "data" in target and target["data"] not in variants:
            known = ", ".join(variants) or "none"
            yield f"targets.{name}.data: {target['data']!r} is no variant of data.world ({known})"


def _tails(config: Config) -> Iterator[str]:
    """A released dump lists the top k and not the mass outside."""
    for name, target in config["targets"].items():
        tail = (config["training"] | target.get("training", {}))["tail"]
        if not tail or not target["sources"] or "checkpoint" in target:
            continue
        for teacher in (config["pivot"], *target["sources"]):
            if "logits" in config["models"][teacher]:
                own = "tail" in target.get("training", {})
                key = f"targets.{name}.training.tail" if own else "training.tail"
                yield (
                    f"{key}: models.{teacher}.logits, which teaches {name}, is a released dump "
                    "without the mass outside the top k"
                )


def _merges(config: Config) -> Iterator[str]:
    for name, merge in config["merges"].items():
        if name in config["models"] or name in config["targets"]:
            yield f"merges.{name}: the name is already a model's or target's; choose another"
        for target in merge["targets"]:
            yield from _merged_target(f"merges.{name}.targets", target, config)
        if sum(merge["targets"].values()) <= 0:
            yield f"merges.{name}.targets: at least one weight must be above 0"
        if "checkpoint" in merge:
            yield from _one_of(f"merges.{name}.checkpoint", merge["checkpoint"], ("path", "repo"))
        if merge["method"] == "slerp" and len(merge["targets"]) != 2:
            yield f"merges.{name}.targets: slerp merges exactly two targets"
        if "base" in merge and (
            merge["method"] != "slerp" or merge["base"] not in merge["targets"]
        ):
            yield f"merges.{name}.base: only for slerp, and one of its two targets"


def _merged_target(key: str, target: str, config: Config) -> Iterator[str]:
    base, seed = split_replicate(target)
    if base not in config["targets"]:
        yield _unknown(key, base, list(config["targets"]))
        return
    seeds = config["targets"][base].get("seeds", config["training"]["seeds"])
    if seed > seeds:
        yield f"{key}: {target} is not trained; targets.{base} has training seeds 1 to {seeds}"


def _comparisons(config: Config) -> Iterator[str]:
    known = {*config["models"], *config["targets"], *config["merges"]}
    for name, entry in config["comparisons"].items():
        key = f"comparisons.{name}"
        if name in known:
            yield f"{key}: the name is already a model's, target's or merge's; choose another"
        yield from _one_of(key, entry, ("path", "repo", "api", "published", "answers", "paper"))
        if "path" in entry and not Path(entry["path"]).is_dir():
            yield f"{key}.path: {entry['path']} is not a folder"
        if "answers" in entry and not Path(entry["answers"]).is_file():
            yield f"{key}.answers: {entry['answers']} is not a file"
        if "api" in entry:
            yield from _endpoint(f"{key}.api", entry["api"])


def _endpoint(key: str, endpoint: Config) -> Iterator[str]:
    if not {"model", "base_url"} <= endpoint.keys():
        yield f"{key}: an endpoint needs model and base_url"
        return
    try:
        check_base_url(endpoint["base_url"], f"{key}.base_url")
        check_headers(endpoint.get("headers", {}), f"{key}.headers")
    except UserError as error:
        yield str(error)
    if "budget" in endpoint and not {"input_price", "output_price"} & endpoint.keys():
        yield f"{key}.budget: dollars need input_price and output_price"


def _training(training: Config) -> Iterator[str]:
    nodes, gpus = training["nodes"], training["gpu"]
    if nodes > 1 and (gpus < nodes or gpus % nodes):
        yield f"training.gpu: {gpus} GPUs cannot be divided evenly among {nodes} nodes"
    together = training["micro_batch_size"] * max(1, gpus)
    if training["global_batch_size"] % together:
        yield (
            f"training.global_batch_size: {training['global_batch_size']} is not a multiple of "
            f"micro_batch_size x GPUs = {together}"
        )


def _sweeps(config: Config) -> Iterator[str]:
    known = [*config["models"], *config["targets"], *config["merges"]]
    for name, series in config["sweeps"].items():
        for model in series:
            if model not in known:
                yield _unknown(f"sweeps.{name}", model, known)


def _benchmark(bench: Config) -> Iterator[str]:
    if "questions" in bench and not Path(bench["questions"]).is_dir():
        yield f"mt_bench.questions: {bench['questions']} is not a folder"
    if "references" in bench and not Path(bench["references"]).is_file():
        yield f"mt_bench.references: {bench['references']} is not a file"
    for name, judge in bench["judges"].items():
        if judge["kind"] == "openai":
            yield from _endpoint(f"mt_bench.judges.{name}", judge)
