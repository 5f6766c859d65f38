"""Targets and merges of a run, each with its replicates: what they are made of, and how."""

from dataclasses import dataclass

from fusionchat.replicates import replicate_name, split_replicate
from fusionchat.schema import Config


@dataclass(frozen=True)
class Target:
    """A model that is fine-tuned from the pivot, with one training seed, and what its steps do."""

    name: str
    base: str  # the name without its seed: replicates share the fused distributions
    sources: tuple[str, ...]
    mixture: str  # "name-" of the variant that it is trained on, empty for the run's own
    training: Config
    fusion: Config
    alignment: Config
    variant: str  # "@name" where it aligns its sources in a way of its own, otherwise empty
    checkpoint: Config | None  # released, in place of training


@dataclass(frozen=True)
class Merge:
    """A model that is merged from targets: the weight of each, the method and its settings."""

    name: str
    base: str  # the name without the seed of its targets
    targets: dict[str, float]
    method: str
    settings: Config
    checkpoint: Config | None  # released, in place of merging


def all_targets(config: Config) -> dict[str, Target]:
    """Every target by name, each followed by its replicates with further training seeds."""
    targets = [
        _target(config, name, entry, seed)
        for name, entry in config["targets"].items()
        for seed in range(1, _seeds(config, name) + 1)
    ]
    return {target.name: target for target in targets}


def _seeds(config: Config, name: str) -> int:
    """How many training seeds a target has; a released checkpoint stands for one."""
    entry = config["targets"][name]
    return 1 if "checkpoint" in entry else entry.get("seeds", config["training"]["seeds"])


def _target(config: Config, name: str, entry: Config, seed: int) -> Target:
    training = config["training"] | entry.get("training", {})
    return Target(
        replicate_name(name, seed),
        name,
        tuple(entry["sources"]),
        f"{entry['data']}-" if "data" in entry else "",
        training=training | {"seed": training["seed"] + seed - 1},
        fusion=config["fusion"] | entry.get("fusion", {}),
        alignment=config["alignment"] | entry.get("alignment", {}),
        variant=f"@{name}" if "alignment" in entry else "",
        checkpoint=entry.get("checkpoint"),
    )


def all_merges(config: Config) -> dict[str, Merge]:
    """Every merge by name, each followed by its replicates from targets with further seeds."""
    merges = [
        _merge(config, name, entry, seed, weights)
        for name, entry in config["merges"].items()
        for seed, weights in enumerate(_merged_seeds(config, entry), 1)
    ]
    return {merge.name: merge for merge in merges}


def _merge(config: Config, name: str, entry: Config, seed: int, weights: dict[str, float]) -> Merge:
    settings = {"dtype": config["precision"]["merge"], **entry}
    if "base" in entry:  # SLERP's, one of the targets
        settings["base"] = list(weights)[list(entry["targets"]).index(entry["base"])]
    return Merge(
        replicate_name(name, seed),
        name,
        weights,
        entry["method"],
        settings,
        entry.get("checkpoint"),
    )


def _merged_seeds(config: Config, entry: Config) -> list[dict[str, float]]:
    """The targets and weights of a merge and of each of its replicates.

    Replicate k takes the targets of seed k. Where a merge names a target's replicates itself,
    they move on by as much, from the last seed to the first: the mean of the CLM targets of
    seeds 1 and 2 is followed by that of 2 and 3. The same targets are not merged twice.
    """
    members = [(*split_replicate(name), weight) for name, weight in entry["targets"].items()]
    seeds = {name: _seeds(config, name) for name, _, _ in members}
    merged: list[dict[str, float]] = []
    for later in range(1 if "checkpoint" in entry else min(seeds.values())):
        weights = {
            replicate_name(name, (seed - 1 + later) % seeds[name] + 1): weight
            for name, seed, weight in members
        }
        if weights not in merged:
            merged.append(weights)
    return merged
