"""What the costs of all stages rest on: sizes, tokens, a forward pass, calls of a judge."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from fusionchat.cluster.costs import memory
from fusionchat.cluster.costs.sizes import BYTES, Size
from fusionchat.cluster.costs.work import GB, Work
from fusionchat.cluster.facts import Facts
from fusionchat.experiment import Experiment
from fusionchat.mt_bench.endpoint.limits import BATCH_PRICE

BATCH_WAIT = 3600.0  # seconds of a batch of judge calls; a service may take a day; guess


class StageCosts:
    """An experiment, what is known of its inputs, and the rates of a kind of machine."""

    def __init__(self, experiment: Experiment, throughputs: Mapping[str, Any]) -> None:
        self.experiment = experiment
        self.config = experiment.config
        self.known = throughputs
        self.facts = Facts(experiment, throughputs)
        self.device = throughputs["devices"][self.config["device"]]
        self.on_gpus = self.config["device"] == "cuda"
        self.shards = len(experiment.shards)

    @property
    def sources(self) -> list[str]:
        """Source LLMs whose distributions are aligned with the pivot's."""
        return self.experiment.sources

    @property
    def dialogues(self) -> float:
        """Dialogues to train on."""
        return self.facts.dialogues

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
        """Tokens of all dialogues to train on."""
        return self.dialogues * self.facts.data.mean

    @property
    def response_tokens(self) -> float:
        """Tokens that the models are scored on."""
        return self.dialogues * self.facts.data.response_tokens

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
        return self.facts.size(name)

    @property
    def threads(self) -> int:
        """Threads of a job that runs a model on CPUs; jobs of the scale model run side by side."""
        return 1 if self.on_gpus or "pretrain" in self.config["models"][self.config["pivot"]] else 8

    def _start(self, processes: int) -> float:
        """Seconds until models are loaded: on CPUs, those of all processes together."""
        return float(self.device["start"]) * (1 if self.on_gpus else processes)

    def _small(self, rule: str, jobs: int = 1, seconds: float = 0.0, kept: float = 0.0) -> Work:
        return Work(rule, jobs, self.device["startup_cpu"] + seconds, kept=kept, host=0.4 * GB)

    def _scoring(
        self, rule: str, name: str, tokens: float, dtype: str, jobs: int, kept: float
    ) -> Work:
        """A forward pass over so many tokens, divided by tensor parallelism.

        Code of a model's own has its layers spread over the GPUs, of which one works at a time.
        """
        size, devices = self.size(name), max(1, self.experiment.gpus(name))
        spread = "remote_code" in self.experiment.models.get(name, {})
        processes = 1 if spread else devices
        at_once = processes if self.on_gpus else 1
        rate = self.device["forward"] * (self.device["float32"] if dtype == "float32" else 1)
        bytes_ = self.scoring_bytes(name, dtype, tokens, devices)
        return Work(
            rule,
            jobs,
            self._start(processes) + 2e9 * size.active * tokens / (rate * at_once),
            gpus=devices if self.on_gpus else 0,
            threads=self.threads,
            kept=kept,
            host=memory.beside(self.config["device"], bytes_, processes),
            gpu_memory=memory.on_gpu(bytes_),
        )

    def scoring_bytes(self, name: str, dtype: str, tokens: float, devices: int) -> float:
        """Memory of a forward pass over so many tokens, on each of its devices."""
        batch = min(tokens, self.config["logits"]["token_budget"])
        return memory.forward(self.size(name), dtype, batch, devices, self.config["device"])

    def _calls(self, rule: str, endpoint: Mapping[str, Any], calls: int, kept: float) -> Work:
        """A job that makes so many calls of an endpoint, one by one or as a cheaper batch."""
        call, batch = self.known["judge"], bool(endpoint.get("batch"))
        price = 1e-6 * (
            call["tokens_in"] * endpoint.get("input_price", 0.0)
            + call["tokens_out"] * endpoint.get("output_price", 0.0)
        )
        price *= BATCH_PRICE if batch else 1.0
        seconds = BATCH_WAIT if batch else calls * call["seconds"] / endpoint["concurrency"]
        return Work(
            rule,
            1,
            self.device["startup_cpu"] + (seconds if calls else 0.0),
            kept=kept,
            host=0.4 * GB,
            calls=calls,
            dollars=calls * price,
        )
