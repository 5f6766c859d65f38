"""One run: the names of its models, the settings of each and where their files lie.

Made from a checked configuration. The rules, the plan and the doctor ask it instead of reading the
configuration themselves, so that all of them mean the same by a name.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fusionchat.replicates import replicate_name, split_replicate
from fusionchat.schema import Config

TOKENIZER = "tokenizer"  # the template that stands for a tokenizer's own
SAMPLE = ".sample"  # the alignment of a few dialogues, in place of a target's variant
SAMPLE_MIXTURE = "sample."  # what the names of that sample's dialogues begin with
GRANULARITIES = ("model", "layer", "module", "matrix", "parameter")  # coarse to fine


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
    def mixtures(self) -> dict[str, Config]:
        """What the files of each mixture's dialogues begin with, and how the mixture is made.

        The run's own mixture has no prefix, a variant its name and a hyphen.
        """
        world = self.config["data"].get("world", {})
        variants = world.get("variants", {})
        return {"": world} | {f"{name}-": world | variant for name, variant in variants.items()}

    def teachers(self, mixture: str) -> list[str]:
        """Source LLMs whose distributions a mixture needs, the pivot first; the own one, all."""
        if not mixture:
            return [self.pivot, *self.sources]
        taught = [name for name in self.taught if self.targets[name].mixture == mixture]
        used = {source for name in taught for source in self.others(name)}
        return [self.pivot, *(name for name in self.sources if name in used)] if taught else []

    @cached_property
    def shards(self) -> list[str]:
        """Names of the parts that the dialogues are divided into."""
        return [f"{number:04d}" for number in range(self.config["data"]["shards"])]

    @cached_property
    def targets(self) -> dict[str, Target]:
        """Every target by name, each followed by its replicates with further training seeds."""
        entries = self.config["targets"].items()
        targets = [
            self._target(name, entry, seed)
            for name, entry in entries
            for seed in self._seeds(entry)
        ]
        return {target.name: target for target in targets}

    def _seeds(self, entry: Config) -> range:
        """The numbers of a target's training seeds, from 1."""
        count = entry.get("seeds", self.config["training"]["seeds"])
        return range(1, 2 if "checkpoint" in entry else count + 1)

    def _target(self, name: str, entry: Config, seed: int) -> Target:
        training = self.config["training"] | entry.get("training", {})
        return Target(
            replicate_name(name, seed),
            name,
            tuple(entry["sources"]),
            f"{entry['data']}-" if "data" in entry else "",
            training=training | {"seed": training["seed"] + seed - 1},
            fusion=self.config["fusion"] | entry.get("fusion", {}),
            alignment=self.config["alignment"] | entry.get("alignment", {}),
            variant=f"@{name}" if "alignment" in entry else "",
            checkpoint=entry.get("checkpoint"),
        )

    @cached_property
    def merges(self) -> dict[str, Merge]:
        """Every merge by name, each followed by its replicates from targets with further seeds."""
        merges = [
            self._merge(name, entry, seed, weights)
            for name, entry in self.config["merges"].items()
            for seed, weights in enumerate(self._merged_seeds(entry), 1)
        ]
        return {merge.name: merge for merge in merges}

    def _merge(self, name: str, entry: Config, seed: int, weights: dict[str, float]) -> Merge:
        settings = {"dtype": self.config["precision"]["merge"], **entry}
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

    def _merged_seeds(self, entry: Config) -> list[dict[str, float]]:
        """The targets and weights of a merge and of each of its replicates.

        Replicate k takes the targets of seed k. Where a merge names a target's replicates itself,
        they move on by as much, from the last seed to the first: the mean of the CLM targets of
        seeds 1 and 2 is followed by that of 2 and 3. The same targets are not merged twice.
        """
        members = [(*split_replicate(name), weight) for name, weight in entry["targets"].items()]
        targets = self.config["targets"]
        count = (
            1 if "checkpoint" in entry else min(len(self._seeds(targets[m[0]])) for m in members)
        )
        merged: list[dict[str, float]] = []
        for later in range(count):
            weights = {
                replicate_name(
                    name, (seed - 1 + later) % len(self._seeds(targets[name])) + 1
                ): weight
                for name, seed, weight in members
            }
            if weights not in merged:
                merged.append(weights)
        return merged

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
    def variants(self) -> list[str]:
        """Suffixes of the sources that a target aligns in a way of its own."""
        return [self.targets[name].variant for name in self.taught if self.targets[name].variant]

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
    def rows(self) -> list[str]:
        """The models of Table 1; replicates are part of their model's row."""
        ours = (*self.config["targets"], *self.config["merges"])
        return [*self.compared, *self.source_llms, *ours]

    @cached_property
    def evaluated(self) -> list[str]:
        """The run's own models: source LLMs, targets and merged ones, replicates included."""
        return [*self.source_llms, *self.targets, *self.merges]

    @cached_property
    def rated(self) -> list[str]:
        """Every model that answers the benchmark, replicates included."""
        return [*self.compared, *self.evaluated]

    def replicates(self, names: Iterable[str]) -> list[str]:
        """These models, each with its replicates."""
        chosen = set(names)
        return [name for name in self.rated if split_replicate(name)[0] in chosen]

    @cached_property
    def measured(self) -> list[str]:
        """The run's own models where dialogues are held out to measure their likelihood."""
        return self.evaluated if self.config["data"]["heldout"] else []

    @cached_property
    def rows_here(self) -> list[str]:
        """The rows of models that run here."""
        return [name for name in self.rows if name not in self.elsewhere]

    @property
    def tasks(self) -> Config:
        """The tasks of the leaderboard by name; empty where a run has none."""
        tasks: Config = self.config["leaderboard"]["tasks"]
        return tasks

    @cached_property
    def ranked(self) -> list[str]:
        """The rows of the leaderboard: the models that it names, or all that run here."""
        chosen = self.config["leaderboard"].get("models", self.rows_here)
        return [name for name in self.rows_here if name in chosen] if self.tasks else []

    @property
    def ranked_baseline(self) -> str:
        """What the leaderboard's rows are compared with: the baseline, or the first of them."""
        rows = self.ranked or [self.pivot]
        return self.baseline if self.baseline in rows else rows[0]

    @property
    def world_tasks(self) -> str:
        """The folder of the generated world's own tasks."""
        return f"{self.results}/tasks"

    @property
    def task_folders(self) -> list[str]:
        """Folders of local tasks, those of the generated world among them."""
        generated = [self.world_tasks] if "world" in self.config["data"] else []
        return [*self.config["leaderboard"]["folders"], *generated]

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
    def pairwise(self) -> Config:
        """Who is compared side by side, and by which judge: the tables', unless it is named."""
        named = self.config["mt_bench"].get("pairwise", {})
        return {"baseline": self.baseline, "judge": self.judge} | named

    @cached_property
    def alpaca_eval(self) -> Config:
        """The settings of AlpacaEval 2 with the judge's name; empty where it is not asked for."""
        named: Config = self.config.get("alpaca_eval", {})
        judges = self.llm_judges
        return {"judge": judges[0], **named} if "alpaca_eval" in self.config and judges else {}

    @cached_property
    def alpaca_models(self) -> list[str]:
        """Models that answer AlpacaEval's questions: every row that runs here, its first seed."""
        return self.rows_here if self.alpaca_eval else []

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
    def main(self) -> str | None:
        """The merge that the report is about: the first VaRM with a weight for each matrix."""
        merges = (self.merges[name] for name in self.merged_by("varm"))
        return next((m.name for m in merges if m.settings["granularity"] == "matrix"), None)

    @property
    def subject(self) -> str:
        """The model that the report is about: the main merge, or the last that the run makes."""
        ours = (*self.config["targets"], *self.config["merges"])
        return self.main or next(reversed(ours), self.pivot)

    @cached_property
    def granularities(self) -> list[str]:
        """Merges by VaRM of the same targets as the main one, coarse to fine."""
        merges = [self.merges[name] for name in self.merged_by("varm")]
        alike = [merge for merge in merges if merge.base == merge.name]
        if self.main:
            targets = self.merges[self.main].targets.keys()
            alike = [merge for merge in alike if merge.targets.keys() == targets]
        return [
            merge.name
            for merge in sorted(alike, key=lambda m: GRANULARITIES.index(m.settings["granularity"]))
        ]

    @cached_property
    def shown(self) -> list[str]:
        """The models of the examples: the source LLMs, the baseline and the report's subject."""
        return list(dict.fromkeys([*self.source_llms, self.baseline, self.subject]))

    @cached_property
    def figures(self) -> list[str]:
        """Figures of the report, in its order."""
        return [
            "scores",
            *(["nll"] if self.targets and self.controls else []),
            "radar",
            *(["figure1", "weights"] if self.main else []),
            *(["winners", "cross_entropy", "alignment"] if self.taught else []),
            *(["losses"] if self.trained else []),
            "costs",
        ]

    @cached_property
    def absent(self) -> dict[str, str]:
        """Results that this run cannot have, and what each would need."""
        varm = "a merge with `method: varm` and a weight for each matrix"
        results = {
            varm: (self.main, ("table2", "memory_efficiency", "figure1", "weights", "claims")),
            "a source beside the pivot": (self.sources, ("alignment", "cross_entropy", "worth")),
            "a trained target with sources": (self.taught, ("winners",)),
            "a trained target": (self.trained, ("losses",)),
            "held-out dialogues (`data.heldout`)": (self.controls, ("nll",)),
        }
        return {
            name: lack for lack, (there, names) in results.items() if not there for name in names
        }

    @cached_property
    def self_taught(self) -> list[str]:
        """Targets whose only source is the pivot: controls for what smoother labels alone do."""
        return [
            n for n, entry in self.config["targets"].items() if entry["sources"] == [self.pivot]
        ]

    @cached_property
    def controls(self) -> list[str]:
        """What likelihoods are drawn against: the baseline and the self-taught targets."""
        return [name for name in (self.baseline, *self.self_taught) if name in self.measured]

    @cached_property
    def claimed(self) -> list[str]:
        """The merges that stand for the paper's: VaRM by matrix, one for each set of targets."""
        first: dict[frozenset[str], str] = {}
        for merge in (self.merges[name] for name in self.merged_by("varm")):
            if merge.base == merge.name and merge.settings["granularity"] == "matrix":
                first.setdefault(frozenset(merge.targets), merge.name)
        return list(first.values())

    def trained_alike(self, one: str, other: str) -> bool:
        """Whether two targets differ in nothing but their sources."""
        first, second = self.targets[one], self.targets[other]
        return (first.training, first.mixture) == (second.training, second.mixture)

    def rendering(self, name: str) -> Config:
        """How a model reads dialogues: in the run's chat format, with its own end of turn.

        With `template: tokenizer` that is the pivot's chat template for every model, since
        distributions are aligned on the same text.
        """
        settings = self._rendering(self.config, name)
        if settings["template"] == TOKENIZER and name != self.pivot:
            settings["template_model"] = str(Path(self.manifest(self.pivot)).parent)
        return settings

    def answer_rendering(self, name: str) -> Config:
        """How a model is asked: in its own chat format where it names one, else in the run's."""
        model = self.models.get(name, {})
        chosen = model if "template" in model else self.config | model
        return self._rendering(chosen, name)

    def _rendering(self, chosen: Config, name: str) -> Config:
        """A chat format, with the end of turn of the model whose tokenizer `name` has."""
        owner = name if name in self.models else self.pivot
        run_end = self.config.get("end_of_turn") if owner == self.pivot else None
        settings = {
            "template": chosen["template"],
            "system_message": chosen.get("system_message"),
            "end_of_turn": self.models[owner].get("end_of_turn", run_end),
            "special_text": self.config["special_text"],
        }
        return {key: value for key, value in settings.items() if value is not None}

    def rendering_files(self, settings: Config) -> list[str]:
        """What a chat format depends on: a Jinja file, or the model whose template it is."""
        if "template_model" in settings:
            return [f"{settings['template_model']}/manifest.json"]
        return [settings["template"]] if settings["template"].endswith(".jinja") else []

    def step_options(self, name: str) -> Config:
        """The pivot's folder, where a model's dump stores exact steps for its tokenizer."""
        wanted = self.config["logits"]["exact_steps"] and name in self.sources
        return {"exact_steps_for": str(Path(self.manifest(self.pivot)).parent)} if wanted else {}

    def step_files(self, name: str) -> list[str]:
        """What the exact steps of a dump depend on."""
        return [f"{folder}/manifest.json" for folder in self.step_options(name).values()]

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

    @property
    def llm_judges(self) -> list[str]:
        """The judges behind an endpoint, which ask for prompts and may be compared with people."""
        judges = self.config["mt_bench"]["judges"]
        return [name for name, judge in judges.items() if judge["kind"] == "openai"]

    def judging_file(self, judge: str, name: str) -> list[str]:
        """A file of the benchmark that an LLM judges with; a program needs none."""
        kind = self.config["mt_bench"]["judges"][judge]["kind"]
        return [f"{self.results}/mt_bench/questions/{name}"] if kind == "openai" else []

    def others(self, target: str) -> list[str]:
        """A target's sources but the pivot, whose own distributions are part of every fusion."""
        return [source for source in self.targets[target].sources if source != self.pivot]

    def aligned(self, target: str) -> list[str]:
        """What those sources are called once they are aligned."""
        return [f"{source}{self.targets[target].variant}" for source in self.others(target)]

    def alignment(self, variant: str) -> Config:
        """The settings of an alignment: the run's, or those of the target that a variant names."""
        if variant in ("", SAMPLE):
            return self.config["alignment"]
        return self.targets[variant[1:]].alignment

    def aligned_shards(self, variant: str) -> list[str]:
        """The shards of an alignment: the sample is one, undivided."""
        return [f"{SAMPLE_MIXTURE}dialogues"] if variant == SAMPLE else self.shards

    def limit(self, mixture: str) -> Config:
        """The `limit` of a mixture's training dialogues, if it has one."""
        data = self.config["data"]
        wanted = [data["sample"]] if mixture == SAMPLE_MIXTURE else []
        limits = [*wanted, *([data["limit"]] if "limit" in data else [])]
        return {"limit": min(limits)} if limits else {}

    def training_data(self, target: str) -> list[str]:
        """A target's shards: fused distributions, or plain dialogues where it has no sources."""
        part = self.targets[target]
        folder = f"fused/{part.base}" if part.sources else "dialogues"
        return [f"{self.results}/{folder}/{part.mixture}{shard}.parquet" for shard in self.shards]

    def merge_inputs(self, merge: str) -> list[str]:
        """The manifests of the targets that a merge takes."""
        return [self.manifest(target) for target in self.merges[merge].targets]
