"""The work from the models to the merges."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from fusionchat.cluster.costs import memory
from fusionchat.cluster.costs.lengths import Busy, busy_tokens
from fusionchat.cluster.costs.sizes import BYTES
from fusionchat.cluster.costs.stage_costs import StageCosts
from fusionchat.cluster.costs.work import GB, Work
from fusionchat.origins import DATA_SET, Origins

CHECKPOINTS = 3  # of a training: two are kept, and the next is complete before the oldest goes


class FusionStages(StageCosts):
    """Models, dialogues, logits, alignment, training and merging."""

    def _models(self) -> Iterator[Work]:
        models, data = self.config["models"], self.config["data"]
        origins = Origins(self.experiment)
        fetches_data = "repo" in data and bool(self.experiment.trained or data["heldout"])
        locked = origins.hub.keys() if fetches_data else origins.hub.keys() - {DATA_SET}
        yield self._small("lock_models", len(locked), kept=500)
        for name, origin in origins.models.items():  # a folder of one's own is linked
            bytes_ = 2.0 * self.size(name).weights if "repo" in origin else 0.0
            seconds = self.known["seconds"]["download"] * bytes_ / GB
            host = (4 if bytes_ else 0.4) * GB
            yield Work("fetch_model", 1, seconds, kept=bytes_, host=host)
        if fetches_data:
            megabytes = self.facts.data.megabytes
            yield self._small("fetch_data", 1, megabytes / 100, kept=megabytes * 1e6)
        if "world" in data:
            yield self._small("make_world", kept=7e5)
            for mixture in self._mixtures:
                kept = 420 * (self._share(mixture) * self.dialogues + data["heldout"])
                yield self._small("make_mixture", kept=kept)
        for name, model in models.items():
            if "pretrain" in model:
                yield self._small("make_pretraining", kept=422 * model["pretrain"]["dialogues"])
                yield self._pretraining(name, model["pretrain"])

    def _pretraining(self, name: str, shape: Mapping[str, Any]) -> Work:
        tokens = shape["steps"] * shape["batch_size"] * self.known["data"]["world"]["tokens"]
        size = self.size(name)
        seconds = 6e9 * size.active * tokens / self.device["train"]
        seconds += self.known["seconds"]["draw"] * size.parameters
        weights = BYTES[shape["dtype"]] * size.weights
        host = memory.PROCESS + (5 if shape["steps"] else 1) * weights
        kept = weights + size.side_files
        return Work("pretrain_source", 1, self.device["start"] + seconds, kept=kept, host=host)

    def _dialogues(self) -> Iterator[Work]:
        if not (self.experiment.trained or self.config["data"]["heldout"]):
            return
        for mixture in self._mixtures:
            tokens = self._share(mixture) * self.tokens
            seconds, bytes_ = self.known["seconds"]["prepare_dialogues"] * tokens, 3.0 * tokens
            yield self._small("prepare_dialogues", 1, seconds, kept=bytes_)
            if self.experiment.trained:
                yield self._small("shard_dialogues", 1, seconds / 10, kept=bytes_)

    def _store(self, top_k: int) -> float:
        """Bytes of one model's logits on all dialogues."""
        sizes = self.known["bytes"]
        entries = sizes["entry"] + sizes["id_bit"] * math.log2(self.pivot.vocabulary)
        return (entries * top_k + sizes["row"]) * self.response_tokens + sizes[
            "token"
        ] * self.tokens

    def _logits(self) -> Iterator[Work]:
        if not self.experiment.taught:
            return
        for mixture in self._mixtures:
            for name in self.experiment.teachers(mixture):
                yield self._dump(name, self._share(mixture))

    def _dump(self, name: str, share: float) -> Work:
        """One model's logits on a mixture that has this share of the dialogues."""
        logits = self.config["logits"]
        store = share * self._store(logits["top_k"]) / self.shards
        if name in self.experiment.imported:
            seconds = self.known["seconds"]["import_logits"] * self.dialogues
            return self._small("import_logits", 1, seconds, kept=store * self.shards)
        tokens, rows = (share * n / self.shards for n in (self.tokens, self.response_tokens))
        seconds = 0.0
        if self.experiment.step_options(name):
            store += self.known["bytes"]["exact_steps"] * rows
            if not self.on_gpus:  # on a GPU they take less than a fiftieth of the forward pass
                seconds = self.known["seconds"]["exact_steps"] * self.size(name).vocabulary * rows
        work = self._scoring("dump_logits", name, tokens, logits["dtype"], self.shards, store)
        return replace(work, seconds=work.seconds + seconds)

    def _alignment(self) -> Iterator[Work]:
        if not self.experiment.taught:
            return
        rate, sizes = self.known["seconds"], self.known["bytes"]
        store = self._store(self.config["logits"]["top_k"]) / self.shards
        aligned = [*self.sources, *self._aligned_otherwise]
        shares = [1.0 for _ in aligned]
        for mixture in self._mixtures[1:]:
            shares += [self._share(mixture) for _ in self.experiment.teachers(mixture)[1:]]
        for rule, tokens, bytes_ in (
            ("align_tokens", self.tokens, sizes["spans"] * self.tokens / self.shards),
            ("transfer_logits", self.response_tokens, store),
        ):
            for share in shares:
                seconds = rate["open_tokenizers"] + rate[rule] * share * tokens / self.shards
                yield self._small(rule, self.shards, seconds, kept=share * bytes_)
        for name in aligned:
            tiny = "pretrain" in self.config["models"][name]
            kept = 20.0 * self.size(name).vocabulary
            yield self._small("map_vocabulary", 1, 0 if tiny else rate["map_vocabulary"], kept=kept)
        yield self._small("report_alignment", len(aligned), kept=5e4)
        for name in self.experiment.taught:
            share = self._share(self.experiment.targets[name].mixture)
            stores = 1 + len(self.experiment.others(name))
            seconds = rate["fuse_distributions"] * share * self.response_tokens * stores
            kept = share * store
            yield self._small("fuse_distributions", self.shards, seconds / self.shards, kept)

    @property
    def _aligned_otherwise(self) -> list[str]:
        """A source for each target that aligns it in its own way."""
        return [
            source
            for name in self.experiment.taught
            if self.experiment.targets[name].variant
            for source in self.experiment.others(name)
        ]

    @cached_property
    def training(self) -> memory.Training:
        """What decides the memory of a training."""
        longest = min(self.config["data"]["max_length"], self.facts.data.longest)
        return memory.training(self.config, self.pivot, longest)

    @cached_property
    def busy(self) -> Busy:
        """Tokens of a dialogue that a training computes, and that its GPUs are busy with."""
        wanted = self.config["training"]
        return busy_tokens(
            self.facts.data.tokens,
            wanted["global_batch_size"],
            wanted["micro_batch_size"],
            max(1, wanted["gpu"]),
            wanted["batching"],
        )

    def _training(self) -> Iterator[Work]:
        wanted, size, processes = self.config["training"], self.pivot, self.training.processes
        passes = 8e9 if wanted["gradient_checkpointing"] else 6e9
        tokens = self.dialogues * self.busy.computed * wanted["epochs"]
        rate = self.device["train"] * (processes if self.on_gpus else 1)
        rate *= 1 if wanted["bf16"] else self.device["float32"]
        for name in self.experiment.trained:
            share = self._share(self.experiment.targets[name].mixture)
            yield Work(
                "train_target",
                1,
                self._start(processes) + share * passes * size.active * tokens / rate,
                gpus=processes if self.on_gpus else 0,
                threads=self.threads,
                kept=4 * size.weights + size.side_files,
                temporary=CHECKPOINTS * 12 * size.weights,
                host=self.training.host,
                gpu_memory=self.training.gpu,
            )

    def _merging(self) -> Iterator[Work]:
        rate, billions = self.known["seconds"], self.pivot.parameters
        merges = [self.experiment.merges[name] for name in self.experiment.merged]
        measured = {t for merge in merges if merge.method == "varm" for t in merge.targets}
        seconds = 2 * rate["measure_variation"] * billions
        yield self._small("measure_variation", len(measured), seconds, kept=5e3)
        ours = {"linear": "merge_linear", "sce": "merge_sce", "varm": "merge_varm"}
        for merge in merges:
            start = self.device["startup_cpu" if merge.method in ours else "start"]
            weights = self.weight_bytes(merge.settings["dtype"]) * 1e9 * billions
            yield Work(
                ours.get(merge.method, "merge_mergekit"),
                1,
                start + rate[ours.get(merge.method, merge.method)] * billions,
                kept=weights + self.pivot.side_files,
                temporary=0 if merge.method in ours else 4e9 * billions,  # mergekit's result
                host=0.6 * GB + 6e9 * min(1.0, billions),
            )
