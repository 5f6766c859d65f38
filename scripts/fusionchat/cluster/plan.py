"""What a run will cost before anything runs: jobs, time, disk, memory and judge calls of each rule.

The reckoning needs the experiment and a table of throughputs (resources/throughputs.yaml); it
knows nothing of the machine. Hours are those of one job's allocation, so GPU-hours are hours times
GPUs. Disk is in bytes: kept for good, or only while a job runs.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

from fusionchat.cluster.sizes import BYTES, Size, pretrained_size
from fusionchat.cluster.work import GB, Row, Work, summed
from fusionchat.command_words import sweep_values
from fusionchat.errors import UserError
from fusionchat.experiment import Experiment
from fusionchat.origins import DATA_SET, Origins

CHECKPOINTS = 3  # of a training: two are kept, and the next is complete before the oldest goes


class Plan:
    """The jobs that an experiment asks for."""

    def __init__(self, experiment: Experiment, throughputs: Mapping[str, Any]) -> None:
        self.experiment = experiment
        self.config = experiment.config
        self.known = throughputs
        self.device = throughputs["devices"][self.config["device"]]
        self.shards = len(experiment.shards)

    @property
    def sources(self) -> list[str]:
        """Source LLMs whose distributions are aligned with the pivot's."""
        return self.experiment.sources if self.experiment.taught else []

    @cached_property
    def dialogues(self) -> int:
        """Dialogues to train on."""
        data = self.config["data"]
        if "world" in data:
            return data["world"]["mixture"] - data["heldout"]
        left = self._data["dialogues"] - data["heldout"]
        return min(left, data.get("limit", left))

    @cached_property
    def _data(self) -> Mapping[str, float]:
        data = self.config["data"]
        name = "world" if "world" in data else data.get("repo", data.get("path"))
        if name not in self.known["data"]:
            raise UserError(
                f"throughputs: data has no {name}; add its dialogues, tokens and megabytes"
            )
        return self.known["data"][name]

    @cached_property
    def _mixtures(self) -> list[str]:
        """The run's mixture, and the variants that targets are trained on."""
        used = (self.experiment.targets[name].mixture for name in self.experiment.trained)
        return list(dict.fromkeys(["", *used]))

    def _share(self, mixture: str) -> float:
        """Dialogues of a variant as a share of those of the run's mixture."""
        return self.experiment.mixtures[mixture].get("dialogues", self.dialogues) / self.dialogues

    @property
    def tokens(self) -> float:
        """Tokens of all dialogues."""
        return self.dialogues * self._data["tokens"]

    @property
    def response_tokens(self) -> float:
        """Tokens that the models are scored on."""
        return self.dialogues * self._data["response_tokens"]

    def weight_bytes(self, dtype: str) -> float:
        """Bytes of a merged weight; `pivot` stands for the type of the pivot's checkpoint."""
        if dtype != "pivot":
            return BYTES[dtype]
        shape = self.config["models"][self.config["pivot"]].get("pretrain", {"dtype": "bfloat16"})
        return BYTES[shape["dtype"]]

    @property
    def pivot(self) -> Size:
        """The pivot's size, which every target and merged model shares."""
        return self.size(self.config["pivot"])

    def size(self, name: str) -> Size:
        """The size of a model, target or merged model."""
        model = self.experiment.models.get(name)
        if model is None:
            return self.pivot
        if "pretrain" in model:
            return pretrained_size(model["pretrain"])
        key = model.get("repo", name)
        if key not in self.known["models"]:
            raise UserError(
                f"throughputs: models has no {key}; add its billions of parameters, "
                "{parameters: ..., active: ...}"
            )
        return Size(**self.known["models"][key])

    def rows(self) -> list[Row]:
        """The plan, one row a rule, in the order of the pipeline."""
        stages: list[Callable[[], Iterator[Work]]] = [
            self._models,
            self._dialogues,
            self._logits,
            self._alignment,
            self._training,
            self._merging,
            self._evaluation,
            self._report,
        ]
        work: dict[str, list[Work]] = {}
        for stage in stages:
            for item in stage():
                work.setdefault(item.rule, []).append(item)
        return [summed(rule, items) for rule, items in work.items() if any(i.jobs for i in items)]

    def _small(self, rule: str, jobs: int = 1, seconds: float = 0.0, kept: float = 1e5) -> Work:
        return Work(rule, jobs, self.device["startup_cpu"] + seconds, kept=kept)

    def _models(self) -> Iterator[Work]:
        models, data = self.config["models"], self.config["data"]
        origins = Origins(self.experiment)
        fetches_data = "repo" in data and bool(self.experiment.trained or data["heldout"])
        locked = origins.hub.keys() if fetches_data else origins.hub.keys() - {DATA_SET}
        yield self._small("lock_models", len(locked))
        for name, origin in origins.models.items():  # a folder of one's own is linked
            bytes_ = 2e9 * self.size(name).parameters if "repo" in origin else 0.0
            seconds = self.known["seconds"]["download"] * bytes_ / GB
            yield Work("fetch_model", 1, seconds, kept=bytes_, host=4 * GB)
        if fetches_data:
            megabytes = self._data["megabytes"]
            yield self._small("fetch_data", 1, megabytes / 100, kept=megabytes * 1e6)
        if "world" in data:
            yield self._small("make_world", kept=7e5)
            for mixture in self._mixtures:
                kept = 600 * (self._share(mixture) * self.dialogues + data["heldout"])
                yield self._small("make_mixture", kept=kept)
        for name, model in models.items():
            if "pretrain" in model:
                yield self._small("make_pretraining", kept=600 * model["pretrain"]["dialogues"])
                yield self._pretraining(name, model["pretrain"])

    def _pretraining(self, name: str, shape: Mapping[str, Any]) -> Work:
        tokens = shape["steps"] * shape["batch_size"] * self._data["tokens"]
        size = self.size(name)
        seconds = 6e9 * size.active * tokens / self.device["train"]
        seconds += self.known["seconds"]["draw"] * size.parameters
        weights = BYTES[shape["dtype"]] * 1e9 * size.parameters
        host = 1 * GB + (5 if shape["steps"] else 1) * weights
        return Work(
            "pretrain_source", 1, self.device["start"] + seconds, kept=weights + 2e5, host=host
        )

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
        return sizes["logits"] * top_k / 10 * self.response_tokens + sizes["reserve"] * self.tokens

    def _logits(self) -> Iterator[Work]:
        if not self.experiment.taught:
            return
        for mixture in self._mixtures:
            for name in self.experiment.teachers(mixture):
                yield self._dump(name, self._share(mixture))

    def _dump(self, name: str, share: float) -> Work:
        """One model's logits on a mixture that has this share of the dialogues."""
        store = share * self._store(self.config["logits"]["top_k"]) / self.shards
        if name in self.experiment.imported:
            seconds = self.known["seconds"]["import_logits"] * self.dialogues
            return self._small("import_logits", 1, seconds, kept=store * self.shards)
        size, gpus = self.size(name), self.config["models"][name]["gpu"]
        operations = 2e9 * size.active * share * self.tokens / self.shards
        return Work(
            "dump_logits",
            self.shards,
            self.device["start"] + operations / (self.device["forward"] * max(1, gpus)),
            gpus=gpus if self.config["device"] == "cuda" else 0,
            kept=store,
            host=2 * GB if gpus == 0 else 16 * GB,
            gpu_memory=2e9 * size.parameters / max(1, gpus) + 6 * GB,
        )

    def _alignment(self) -> Iterator[Work]:
        rate, sizes = self.known["seconds"], self.known["bytes"]
        store = self._store(self.config["logits"]["top_k"]) / self.shards
        aligned = [*self.sources, *self._aligned_otherwise]
        shares = [1.0 for _ in aligned]
        for mixture in self._mixtures[1:]:
            shares += [self._share(mixture) for _ in self.experiment.teachers(mixture)[1:]]
        for rule, tokens, bytes_ in (
            ("align_tokens", self.tokens, sizes["spans"] * self.response_tokens / self.shards),
            ("transfer_logits", self.response_tokens, store),
        ):
            for share in shares:
                seconds = rate[rule] * share * tokens / self.shards
                yield self._small(rule, self.shards, seconds, kept=share * bytes_)
        for name in aligned:
            tiny = "pretrain" in self.config["models"][name]
            yield self._small("map_vocabulary", 1, 0 if tiny else rate["map_vocabulary"], kept=5e5)
        yield self._small("report_alignment", len(aligned), kept=1e5)
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

    def _training(self) -> Iterator[Work]:
        training, size = self.config["training"], self.pivot
        padded = training["batching"] == "padded" and self.config["device"] == "cuda"
        tokens = self.dialogues * self.config["data"]["max_length"] if padded else self.tokens
        passes = 8e9 if training["gradient_checkpointing"] else 6e9
        gpus = training["gpu"]
        operations = passes * size.active * tokens * training["epochs"]
        for name in self.experiment.trained:
            share = self._share(self.experiment.targets[name].mixture)
            yield Work(
                "train_target",
                1,
                self.device["start"] + share * operations / (self.device["train"] * max(1, gpus)),
                gpus=gpus if self.config["device"] == "cuda" else 0,
                kept=4e9 * size.parameters + 2e5,
                temporary=CHECKPOINTS * 12e9 * size.parameters,
                host=4e9 * size.parameters * max(1, gpus // 2) + 1 * GB,
                gpu_memory=16e9 * size.parameters / max(1, gpus) + 12 * GB,
            )

    def _merging(self) -> Iterator[Work]:
        rate, billions = self.known["seconds"], self.pivot.parameters
        merges = [self.experiment.merges[name] for name in self.experiment.merged]
        measured = {t for merge in merges if merge.method == "varm" for t in merge.targets}
        seconds = 2 * rate["measure_variation"] * billions
        yield self._small("measure_variation", len(measured), seconds, kept=2e4)
        ours = {"linear": "merge_linear", "sce": "merge_sce", "varm": "merge_varm"}
        for merge in merges:
            weights = self.weight_bytes(merge.settings["dtype"]) * 1e9 * billions
            yield Work(
                ours.get(merge.method, "merge_mergekit"),
                1,
                self.device["startup_cpu"] + rate[ours.get(merge.method, merge.method)] * billions,
                kept=weights + 2e5,
                temporary=0 if merge.method in ours else 4e9 * billions,  # mergekit's result
                host=1 * GB + 6e9 * min(1.0, billions),
            )

    def _evaluation(self) -> Iterator[Work]:
        bench, known = self.config["mt_bench"], self.known["questions"]
        if self.experiment.generated:
            count = known["generated_categories"] * self.config["data"]["world"]["questions"]
        else:
            count = known["fetched"]
            yield self._small("fetch_questions", kept=3e5)
        answers = count * bench["choices"]
        batches = -(-answers // bench["batch_size"])
        for name in self.experiment.answering:
            size, gpus = self.size(name), self.experiment.gpus(name)
            steps = known["turns"] * batches * bench["max_new_tokens"]
            yield Work(
                "answer",
                1,
                self.device["start"]
                + steps * 2e9 * size.parameters / (self.device["bandwidth"] * max(1, gpus)),
                gpus=gpus if self.config["device"] == "cuda" else 0,
                kept=answers * 500.0,
                host=1 * GB if gpus == 0 else 16 * GB,
                gpu_memory=2e9 * size.parameters / max(1, gpus) + 8 * GB,
            )
            if name in self.experiment.measured:
                yield self._heldout(size, gpus)
            yield from self._judging(answers * known["turns"])
        yield from self._elsewhere(answers, known["turns"])

    def _heldout(self, size: Size, gpus: int) -> Work:
        operations = 2e9 * size.active * self.config["data"]["heldout"] * self._data["tokens"]
        return Work(
            "measure_nll",
            1,
            self.device["start"] + operations / (self.device["forward"] * max(1, gpus)),
            gpus=gpus if self.config["device"] == "cuda" else 0,
            kept=4e4,
            host=1 * GB if gpus == 0 else 16 * GB,
            gpu_memory=2e9 * size.parameters / max(1, gpus) + 6 * GB,
        )

    def _elsewhere(self, answers: int, turns: int) -> Iterator[Work]:
        """Comparison rows that do not run here: published answers, and models behind an API."""
        for entry in self.experiment.elsewhere.values():
            if "published" in entry:
                yield self._small("fetch_answers", kept=3e5)
            calls = answers * turns if "api" in entry else 0
            given = entry.get("api", {"concurrency": 1})
            yield self._calls("answer_elsewhere", given, calls, kept=answers * 500.0)
            yield from self._judging(answers * turns)

    def _judging(self, turns: int) -> Iterator[Work]:
        for judge in self.config["mt_bench"]["judges"].values():
            calls = turns * judge["repeats"] if judge["kind"] == "openai" else 0
            yield self._calls("judge", judge, calls, kept=turns * 1000.0)

    def _calls(self, rule: str, endpoint: Mapping[str, Any], calls: int, kept: float) -> Work:
        """A job that makes so many calls of an endpoint."""
        call = self.known["judge"]
        price = 1e-6 * (
            call["tokens_in"] * endpoint.get("input_price", 0.0)
            + call["tokens_out"] * endpoint.get("output_price", 0.0)
        )
        seconds = self.device["startup_cpu"] + calls * call["seconds"] / endpoint["concurrency"]
        return Work(rule, 1, seconds, kept=kept, calls=calls, dollars=calls * price)

    def _report(self) -> Iterator[Work]:
        for rule in ("write_config", "score", "claims"):
            yield self._small(rule)
        for table in ("write_table1", "write_table2"):
            yield self._small(table)
        for name in self.experiment.figures:
            yield self._small(name if name == "figure1" else f"figure_{name}", kept=2e5)
        yield self._small("report", kept=2e6)
        yield self._small("agreement", int(self.experiment.raters > 1))
        sweeps = self.config["sweeps"].values()
        curves = sum(bool(sweep_values(self.experiment, rows)) for rows in sweeps)
        yield self._small("sweep_table", len(sweeps))
        yield self._small("sweep_figure", len(sweeps) - curves)
        yield self._small("sweep_curve", curves)
        for rule in ("gains", "figure_map"):
            yield self._small(rule, len(self.config["maps"]))
