"""The models of a run: source LLMs, targets, merges and compared ones, and where each lies."""

from dataclasses import dataclass
from functools import cached_property

from fusionchat.experiment.parts import Merge, Target, all_merges, all_targets
from fusionchat.schema import Config


@dataclass(frozen=True)
class Models:
    """The models by name; `Config` values are never changed."""

    config: Config

    @property
    def results(self) -> str:
        """The run's folder."""
        return f"results/{self.config['name']}"

    @property
    def pivot(self) -> str:
        """The model that gives every target its architecture and initial weights."""
        return str(self.config["pivot"])

    @cached_property
    def source_llms(self) -> list[str]:
        """All source LLMs, the pivot among them."""
        return list(self.config["models"])

    @cached_property
    def sources(self) -> list[str]:
        """The source LLMs that are aligned with the pivot."""
        return [name for name in self.source_llms if name != self.pivot]

    @cached_property
    def targets(self) -> dict[str, Target]:
        """Every target by name, each followed by its replicates with further training seeds."""
        return all_targets(self.config)

    @cached_property
    def merges(self) -> dict[str, Merge]:
        """Every merge by name, each followed by its replicates from targets with further seeds."""
        return all_merges(self.config)

    @cached_property
    def trained(self) -> list[str]:
        """Targets that this run trains."""
        return [target.name for target in self.targets.values() if target.checkpoint is None]

    @cached_property
    def taught(self) -> list[str]:
        """Trained targets that learn from fused distributions, each without its replicates."""
        targets = (self.targets[name] for name in self.trained)
        return list(dict.fromkeys(target.base for target in targets if target.sources))

    @cached_property
    def self_taught(self) -> list[str]:
        """Targets whose only source is the pivot: controls for what smoother labels alone do."""
        return [
            n for n, entry in self.config["targets"].items() if entry["sources"] == [self.pivot]
        ]

    @property
    def baseline(self) -> str:
        """The model of the differences: the first target without sources, or the pivot."""
        clm = (target.name for target in self.targets.values() if not target.sources)
        return next(clm, self.pivot)

    def trained_alike(self, one: str, other: str) -> bool:
        """Whether two targets differ in nothing but their sources."""
        first, second = self.targets[one], self.targets[other]
        return (first.training, first.mixture) == (second.training, second.mixture)

    @cached_property
    def merged(self) -> list[str]:
        """Merges that this run makes."""
        return [merge.name for merge in self.merges.values() if merge.checkpoint is None]

    def merged_by(self, *methods: str) -> list[str]:
        """Merges that this run makes by one of these methods."""
        return [name for name in self.merged if self.merges[name].method in methods]

    @cached_property
    def released(self) -> dict[str, Config]:
        """Checkpoints that stand in for training or merging, by target or merge."""
        parts: list[Target | Merge] = [*self.targets.values(), *self.merges.values()]
        return {part.name: part.checkpoint for part in parts if part.checkpoint is not None}

    @cached_property
    def imported(self) -> list[str]:
        """Source LLMs whose released distributions stand in for a dump."""
        return [name for name, model in self.config["models"].items() if "logits" in model]

    @cached_property
    def compared(self) -> dict[str, Config]:
        """Other models that are rated beside the run's own."""
        entries: Config = self.config["comparisons"]
        return {name: entry for name, entry in entries.items() if "paper" not in entry}

    @cached_property
    def elsewhere(self) -> dict[str, Config]:
        """Those of them that do not run here: behind an API, or with published answers."""
        return {
            n: entry for n, entry in self.compared.items() if not {"repo", "path"} & entry.keys()
        }

    @cached_property
    def models(self) -> dict[str, Config]:
        """Source LLMs and compared models that run here: what lies in models/."""
        local = {n: entry for n, entry in self.compared.items() if n not in self.elsewhere}
        return self.config["models"] | local

    def gpus(self, name: str) -> int:
        """GPUs of a forward pass; a target or merged model needs as many as the pivot."""
        return int(self.models.get(name, self.models[self.pivot])["gpu"])

    def manifest(self, name: str) -> str:
        """The manifest of a model, target or merged model; its folder is complete with it."""
        kind = "models" if name in self.models else "targets" if name in self.targets else "merged"
        return f"{self.results}/{kind}/{name}/manifest.json"

    def merge_inputs(self, merge: str) -> list[str]:
        """The manifests of the targets that a merge takes."""
        return [self.manifest(target) for target in self.merges[merge].targets]
