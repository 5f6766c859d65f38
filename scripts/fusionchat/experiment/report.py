"""What a run's report is about: its models, figures, and the results that it cannot have."""

from dataclasses import dataclass
from functools import cached_property

from fusionchat.experiment.benchmarks import Benchmarks

GRANULARITIES = ("model", "layer", "module", "matrix", "parameter")  # coarse to fine


@dataclass(frozen=True)
class Report(Benchmarks):
    """The models that stand for others in tables and figures, and what is shown of them."""

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
    def claimed(self) -> list[str]:
        """The merges that stand for the paper's: VaRM by matrix, one for each set of targets."""
        first: dict[frozenset[str], str] = {}
        for merge in (self.merges[name] for name in self.merged_by("varm")):
            if merge.base == merge.name and merge.settings["granularity"] == "matrix":
                first.setdefault(frozenset(merge.targets), merge.name)
        return list(first.values())

    @cached_property
    def shown(self) -> list[str]:
        """The models of the examples: the source LLMs, the baseline and the report's subject."""
        return list(dict.fromkeys([*self.source_llms, self.baseline, self.subject]))

    @cached_property
    def controls(self) -> list[str]:
        """What likelihoods are drawn against: the baseline and the self-taught targets."""
        return [name for name in (self.baseline, *self.self_taught) if name in self.measured]

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
