"""Merged models, and the sweeps and maps that put models side by side."""

from collections.abc import Iterator

from fusionchat.checks.common import checkpoint, unknown
from fusionchat.replicates import split_replicate
from fusionchat.schema import Config


def faults(config: Config) -> Iterator[str]:
    """Faults of `merges`, `sweeps` and `maps`."""
    for name, merge in config["merges"].items():
        key = f"merges.{name}"
        if name in config["models"] or name in config["targets"]:
            yield f"{key}: the name is already a model's or target's; choose another"
        for target in merge["targets"]:
            yield from _merged_target(f"{key}.targets", target, config)
        yield from _method(key, merge)
        yield from checkpoint(key, merge)
    known = [*config["models"], *config["targets"], *config["merges"]]
    for name, series in config["sweeps"].items():
        for model in series:
            if model not in known:
                yield unknown(f"sweeps.{name}", model, known)
    for name, entry in config["maps"].items():
        yield from _map(f"maps.{name}", entry, [*config["targets"], *config["merges"]])


def _map(key: str, entry: Config, known: list[str]) -> Iterator[str]:
    if entry["x"] == entry.get("y"):
        yield f"{key}.y: is the same as x; leave it out for a curve"
    for label, models in entry["models"].items():
        for model in models:
            if model not in known:
                yield unknown(f"{key}.models.{label}", model, known)
    for control in entry["controls"]:
        if control not in entry["models"]:
            yield unknown(f"{key}.controls", control, list(entry["models"]))


def _merged_target(key: str, target: str, config: Config) -> Iterator[str]:
    base, seed = split_replicate(target)
    if base not in config["targets"]:
        yield unknown(key, base, list(config["targets"]))
        return
    seeds = config["targets"][base].get("seeds", config["training"]["seeds"])
    if seed > seeds:
        yield f"{key}: {target} is not trained; targets.{base} has training seeds 1 to {seeds}"


def _method(key: str, merge: Config) -> Iterator[str]:
    if sum(merge["targets"].values()) <= 0:
        yield f"{key}.targets: at least one weight must be above 0"
    if merge["method"] == "slerp" and len(merge["targets"]) != 2:
        yield f"{key}.targets: slerp merges exactly two targets"
    if "base" in merge and (merge["method"] != "slerp" or merge["base"] not in merge["targets"]):
        yield f"{key}.base: only for slerp, and one of its two targets"
