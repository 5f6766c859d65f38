"""The dialogues of a run: mixtures, shards, and the distributions that are aligned for them."""

from dataclasses import dataclass
from functools import cached_property

from fusionchat.experiment.models import Models
from fusionchat.schema import Config

SAMPLE = ".sample"  # the alignment of a few dialogues, in place of a target's variant
SAMPLE_MIXTURE = "sample."  # what the names of that sample's dialogues begin with


@dataclass(frozen=True)
class Mixtures(Models):
    """What models are taught with: dialogues, and distributions in the pivot's vocabulary."""

    @cached_property
    def mixtures(self) -> dict[str, Config]:
        """What the files of each mixture's dialogues begin with, and how the mixture is made.

        The run's own mixture has no prefix, a variant its name and a hyphen.
        """
        world = self.config["data"].get("world", {})
        variants = world.get("variants", {})
        return {"": world} | {f"{name}-": world | variant for name, variant in variants.items()}

    @cached_property
    def shards(self) -> list[str]:
        """Names of the parts that the dialogues are divided into."""
        return [f"{number:04d}" for number in range(self.config["data"]["shards"])]

    def limit(self, mixture: str) -> Config:
        """The `limit` of a mixture's training dialogues, if it has one."""
        data = self.config["data"]
        wanted = [data["sample"]] if mixture == SAMPLE_MIXTURE else []
        limits = [*wanted, *([data["limit"]] if "limit" in data else [])]
        return {"limit": min(limits)} if limits else {}

    def teachers(self, mixture: str) -> list[str]:
        """Source LLMs whose distributions a mixture needs, the pivot first; the own one, all."""
        if not mixture:
            return [self.pivot, *self.sources]
        taught = [name for name in self.taught if self.targets[name].mixture == mixture]
        used = {source for name in taught for source in self.others(name)}
        return [self.pivot, *(name for name in self.sources if name in used)] if taught else []

    def others(self, target: str) -> list[str]:
        """A target's sources but the pivot, whose own distributions are part of every fusion."""
        return [source for source in self.targets[target].sources if source != self.pivot]

    @cached_property
    def variants(self) -> list[str]:
        """Suffixes of the sources that a target aligns in a way of its own."""
        return [self.targets[name].variant for name in self.taught if self.targets[name].variant]

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

    def training_data(self, target: str) -> list[str]:
        """A target's shards: fused distributions, or plain dialogues where it has no sources."""
        part = self.targets[target]
        folder = f"fused/{part.base}" if part.sources else "dialogues"
        return [f"{self.results}/{folder}/{part.mixture}{shard}.parquet" for shard in self.shards]
