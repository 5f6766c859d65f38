"""One run: the names of its models, the settings of each and where their files lie.

Made from a checked configuration. The rules, the plan and the doctor ask it instead of reading the
configuration themselves, so that all of them mean the same by a name.
"""

from dataclasses import dataclass
from functools import cached_property

from fusionchat.config import Config

GRANULARITIES = ("model", "layer", "module", "matrix", "parameter")  # coarse to fine


@dataclass(frozen=True)
class Target:
    """A model that is fine-tuned from the pivot, and what its own steps do."""

    name: str
    sources: tuple[str, ...]
    training: Config
    fusion: Config
    alignment: Config
    variant: str  # "@name" where it aligns its sources in a way of its own, otherwise empty
    checkpoint: Config | None  # released, in the place of training


@dataclass(frozen=True)
class Merge:
    """A model that is merged from targets: the weight of each, the method and its settings."""

    name: str
    targets: dict[str, float]
    method: str
    settings: Config
    checkpoint: Config | None  # released, in the place of merging


@dataclass(frozen=True)
class Experiment:
    """Everything that follows from a checked configuration; `Config` values are never changed."""

    config: Config

    @property
    def results(self) -> str:
        """The run's folder."""
        return f"results/{self.config['name']}"

    @property
    def pivot(self) -> str:
        """The model that gives every target its architecture and start weights."""
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
    def shards(self) -> list[str]:
        """Names of the parts that the dialogues are divided into."""
        return [f"{number:04d}" for number in range(self.config["data"]["shards"])]

    @cached_property
    def targets(self) -> dict[str, Target]:
        """Every target by name."""
        return {name: self._target(name, entry) for name, entry in self.config["targets"].items()}

    def _target(self, name: str, entry: Config) -> Target:
        return Target(
            name,
            tuple(entry["sources"]),
            training=self.config["training"] | entry.get("training", {}),
            fusion=self.config["fusion"] | entry.get("fusion", {}),
            alignment=self.config["alignment"] | entry.get("alignment", {}),
            variant=f"@{name}" if "alignment" in entry else "",
            checkpoint=entry.get("checkpoint"),
        )

    @cached_property
    def merges(self) -> dict[str, Merge]:
        """Every merge by name."""
        return {
            name: Merge(name, entry["targets"], entry["method"], entry, entry.get("checkpoint"))
            for name, entry in self.config["merges"].items()
        }

    @cached_property
    def trained(self) -> list[str]:
        """Targets that this run trains."""
        return [target.name for target in self.targets.values() if target.checkpoint is None]

    @cached_property
    def taught(self) -> list[str]:
        """Trained targets that learn from other models' distributions."""
        return [name for name in self.trained if self.targets[name].sources]

    @cached_property
    def variants(self) -> list[str]:
        """Suffixes of the sources that a target aligns in a way of its own."""
        return [target.variant for target in self.targets.values() if target.variant]

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

    @cached_property
    def evaluated(self) -> list[str]:
        """The run's own models: source LLMs, targets and merged ones."""
        return [*self.source_llms, *self.targets, *self.merges]

    @cached_property
    def rated(self) -> list[str]:
        """Every model that answers the benchmark."""
        return [*self.compared, *self.evaluated]

    @cached_property
    def measured(self) -> list[str]:
        """The run's own models where dialogues are held out to measure their likelihood."""
        return self.evaluated if self.config["data"]["heldout"] else []

    @cached_property
    def answering(self) -> list[str]:
        """Every model that answers the benchmark here."""
        return [name for name in self.rated if name not in self.elsewhere]

    @property
    def generated(self) -> bool:
        """Whether the benchmark's questions belong to the generated world."""
        return "world" in self.config["data"] and "questions" not in self.config["mt_bench"]

    @property
    def judge(self) -> str:
        """The judge of the tables: the first one."""
        return str(next(iter(self.config["mt_bench"]["judges"])))

    @property
    def judge_model(self) -> str:
        """The model behind that judge; a program's own name."""
        return str(self.config["mt_bench"]["judges"][self.judge].get("model", self.judge))

    @property
    def raters(self) -> int:
        """How often each answer is rated, by all judges together."""
        return sum(judge["repeats"] for judge in self.config["mt_bench"]["judges"].values())

    @property
    def baseline(self) -> str:
        """The model of the differences: the first target without sources, or the pivot."""
        clm = (target.name for target in self.targets.values() if not target.sources)
        return next(clm, self.pivot)

    @cached_property
    def granularities(self) -> list[str]:
        """Merges by VaRM that this run makes, coarse to fine."""

        def fineness(name: str) -> int:
            return GRANULARITIES.index(self.merges[name].settings["granularity"])

        return sorted(self.merged_by("varm"), key=fineness)

    @cached_property
    def main(self) -> str | None:
        """The merge that the report is about: VaRM with a weight for each matrix."""
        return next(
            (n for n in self.granularities if self.merges[n].settings["granularity"] == "matrix"),
            None,
        )

    @cached_property
    def shown(self) -> list[str]:
        """The models of the examples: the source LLMs, the baseline and the main merge."""
        return [*self.source_llms, self.baseline, *([self.main] if self.main else [])]

    @cached_property
    def figures(self) -> list[str]:
        """Figures of the report, in its order."""
        return [
            *("scores", "radar", "figure1"),
            *(["weights"] if self.main else []),
            *(["winners", "cross_entropy", "alignment"] if self.taught else []),
            *(["losses"] if self.trained else []),
            "costs",
        ]

    def template(self, name: str) -> str:
        """The conversation template of a model's own answers; the pivot's where it has none."""
        return str(self.models.get(name, {}).get("template", self.config["template"]))

    def gpus(self, name: str) -> int:
        """GPUs of a forward pass; a target or merged model needs as many as the pivot."""
        return int(self.models.get(name, self.models[self.pivot])["gpu"])

    def manifest(self, name: str) -> str:
        """The manifest of a model, target or merged model; its folder is complete with it."""
        kind = "models" if name in self.models else "targets" if name in self.targets else "merged"
        return f"{self.results}/{kind}/{name}/manifest.json"

    @property
    def questions(self) -> str:
        """The benchmark's questions: generated with the world, or as fetch_questions left them."""
        place = "world/questions.jsonl" if self.generated else "mt_bench/questions/question.jsonl"
        return f"{self.results}/{place}"

    def others(self, target: str) -> list[str]:
        """A target's sources but the pivot, whose own distributions are part of every fusion."""
        return [source for source in self.targets[target].sources if source != self.pivot]

    def aligned(self, target: str) -> list[str]:
        """What those sources are called once they are aligned."""
        return [f"{source}{self.targets[target].variant}" for source in self.others(target)]

    def alignment(self, variant: str) -> Config:
        """The settings of an alignment: the run's, or those of the target that a variant names."""
        return self.targets[variant[1:]].alignment if variant else self.config["alignment"]

    def training_data(self, target: str) -> list[str]:
        """A target's shards: fused distributions, or plain dialogues where it has no sources."""
        folder = f"fused/{target}" if self.targets[target].sources else "dialogues"
        return [f"{self.results}/{folder}/{shard}.parquet" for shard in self.shards]

    def merge_inputs(self, merge: str) -> list[str]:
        """The manifests of the targets that a merge takes."""
        return [self.manifest(target) for target in self.merges[merge].targets]
