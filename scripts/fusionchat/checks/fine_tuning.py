"""Targets: their sources, their fusion and their training."""

from collections.abc import Iterator
from os.path import isfile
from pathlib import Path

from fusionchat.checks.common import checkpoint, missing_file, unknown
from fusionchat.errors import UserError
from fusionchat.schema import Config
from fusionchat.training.zero_file import read_zero_file


def faults(config: Config) -> Iterator[str]:
    """Faults of `targets` and `training`."""
    yield from _training(config["training"])
    yield from _memory(config["training"], config["device"])
    for name, target in config["targets"].items():
        key = f"targets.{name}"
        if name in config["models"]:
            yield f"{key}: the name is already a model's; choose another"
        yield from _sources(f"{key}.sources", target["sources"], config)
        yield from checkpoint(key, target)
        yield from _data(f"{key}.data", target, config["data"])
        dumped = config["logits"]["top_k"]
        if target.get("fusion", {}).get("top_k", 1) > dumped:
            yield f"{key}.fusion.top_k: the dumps keep {dumped} (logits.top_k)"
    yield from _tails(config)


def _sources(key: str, sources: list[str], config: Config) -> Iterator[str]:
    pivot = config["pivot"]
    if pivot in sources and len(sources) > 1:
        yield (
            f"{key}: the pivot {pivot} competes in every fusion; name it alone (the Self control) "
            "or not at all"
        )
    for source in sources:
        if source not in config["models"]:
            yield unknown(key, source, [name for name in config["models"] if name != pivot])


def _data(key: str, target: Config, data: Config) -> Iterator[str]:
    variants = data.get("world", {}).get("variants", {})
    if "data" in target and target["data"] not in variants:
        known = ", ".join(variants) or "none"
        yield f"{key}: {target['data']!r} is no variant of data.world ({known})"


def _training(training: Config) -> Iterator[str]:
    yield from missing_file("training.deepspeed", training)
    if "deepspeed" in training and isfile(training["deepspeed"]):
        try:
            read_zero_file(Path(training["deepspeed"]))
        except (UserError, OSError) as error:
            yield f"training.deepspeed: {error}"
    nodes, gpus = training["nodes"], training["gpu"]
    if nodes > 1 and (gpus < nodes or gpus % nodes):
        yield f"training.gpu: {gpus} GPUs cannot be divided evenly among {nodes} nodes"
    together = training["micro_batch_size"] * max(1, gpus)
    if training["global_batch_size"] % together:
        yield (
            f"training.global_batch_size: {training['global_batch_size']} is not a multiple of "
            f"micro_batch_size x GPUs = {together}"
        )


def _memory(training: Config, device: str) -> Iterator[str]:
    """What one GPU alone can do, or one library beside another."""
    if training["fit_memory"] and (device == "cpu" or training["gpu"] > 1):
        yield "training.fit_memory: needs `device: cuda` and one GPU; set training.micro_batch_size"
    if training["optimizer"] != "adamw" and "deepspeed" in training:
        yield (
            f"training.optimizer: {training['optimizer']} does not go with training.deepspeed; "
            "take configs/deepspeed/zero2_offload.json, or leave deepspeed out"
        )
    if training["optimizer"] != "adamw" and device == "cpu":
        yield f"training.optimizer: {training['optimizer']} needs `device: cuda`"


def _tails(config: Config) -> Iterator[str]:
    """A released dump lists the top k and not the mass outside."""
    for name, target in config["targets"].items():
        tail = (config["training"] | target.get("training", {}))["tail"]
        if not tail or not target["sources"] or "checkpoint" in target:
            continue
        for teacher in (config["pivot"], *target["sources"]):
            if "logits" in config["models"][teacher]:
                apart = "tail" in target.get("training", {})
                key = f"targets.{name}.training.tail" if apart else "training.tail"
                yield (
                    f"{key}: models.{teacher}.logits, which teaches {name}, is a released dump "
                    "without the mass outside the top k"
                )
