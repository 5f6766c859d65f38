"""What a run will cost before anything runs: jobs, time, disk, memory and judge calls of each rule.

The reckoning needs the experiment, what is known of its inputs (facts.py) and a table of
throughputs (resources/throughputs.yaml); it knows nothing of the machine. Hours are those of one
job's allocation, so GPU-hours are hours times GPUs; on CPUs they are those of all its threads.
Disk is in bytes: kept for good, or only while a job runs.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from fusionchat.cluster import memory
from fusionchat.cluster.facts import Facts
from fusionchat.cluster.lengths import Busy, busy_tokens
from fusionchat.cluster.sizes import BYTES, Size
from fusionchat.cluster.work import GB, Row, Work, summed
from fusionchat.command_words import sweep_values
from fusionchat.experiment import Experiment
from fusionchat.leaderboard import cost
from fusionchat.mt_bench.endpoint.limits import BATCH_PRICE
from fusionchat.origins import DATA_SET, Origins

CHECKPOINTS = 3  # of a training: two are kept, and the next is complete before the oldest goes
FOLDER = 6e4  # bytes of a model's folder beside its weights
PROMPT = 400  # tokens of a question and its chat format; guess
ALPACA_QUESTIONS = 805
BATCH_WAIT = 3600.0  # seconds of a batch of judge calls; a service may take a day; guess


class Plan:
    """The jobs that an experiment asks for."""

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
            self._leaderboard,
            self._report,
        ]
        work: dict[str, list[Work]] = {}
        for stage in stages:
            for item in stage():
                work.setdefault(item.rule, []).append(item)
        return [summed(rule, items) for rule, items in work.items() if any(i.jobs for i in items)]

    def _small(self, rule: str, jobs: int = 1, seconds: float = 0.0, kept: float = 0.0) -> Work:
        return Work(rule, jobs, self.device["startup_cpu"] + seconds, kept=kept, host=0.4 * GB)

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
        return Work(
            "pretrain_source", 1, self.device["start"] + seconds, kept=weights + FOLDER, host=host
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

    @property
    def threads(self) -> int:
        """Threads of a job that runs a model on CPUs; jobs of the scale model run side by side."""
        return 1 if self.on_gpus or "pretrain" in self.config["models"][self.config["pivot"]] else 8

    def _start(self, processes: int) -> float:
        """Seconds until models are loaded: on CPUs, those of all processes together."""
        return float(self.device["start"]) * (1 if self.on_gpus else processes)

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
                kept=4 * size.weights + FOLDER,
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
                kept=weights + FOLDER,
                temporary=0 if merge.method in ours else 4e9 * billions,  # mergekit's result
                host=0.6 * GB + 6e9 * min(1.0, billions),
            )

    def _evaluation(self) -> Iterator[Work]:
        bench = self.config["mt_bench"]
        questions, turns = (count * bench["choices"] for count in self.facts.questions)
        if not self.experiment.generated:
            yield self._small("fetch_questions", kept=3e5)
        for name in self.experiment.answering:
            yield self._answers(name, questions, turns)
            if name in self.experiment.measured:
                heldout = self.config["data"]["heldout"]
                tokens = heldout * self.facts.data.parts * self.facts.data.mean
                dtype = self.config["precision"]["evaluation"]
                yield self._scoring("measure_nll", name, tokens, dtype, 1, 350 + 85.0 * heldout)
            yield from self._judging(questions, turns)
        yield from self._elsewhere(questions, turns)
        yield from self._alpaca_eval()
        if "pairwise" in bench:
            judge = bench["judges"][self.experiment.pairwise["judge"]]
            asked = judge["kind"] == "openai"
            kept = self._pairs * (5_000.0 if asked else 640.0)
            yield self._calls("judge_pairs", judge, self._pairs if asked else 0, kept=kept)

    def _alpaca_eval(self) -> Iterator[Work]:
        """Answers of one turn to AlpacaEval's questions, each judged once."""
        settings, models = self.experiment.alpaca_eval, self.experiment.alpaca_models
        if not settings:
            return
        yield self._small("fetch_alpaca", kept=3e6)
        bench = self.config["mt_bench"]
        longer = settings["max_new_tokens"] / bench["max_new_tokens"]
        for name in models:
            work = self._answers(name, ALPACA_QUESTIONS, ALPACA_QUESTIONS)
            seconds = self.device["start"] + longer * (work.seconds - self.device["start"])
            yield replace(work, rule="answer_alpaca", seconds=seconds)
        calls = ALPACA_QUESTIONS * len(models)
        judge = bench["judges"][settings["judge"]]
        yield self._calls("judge_alpaca", judge, calls, kept=8_000.0 * calls)
        yield self._small("alpaca_eval", kept=2e4)

    @property
    def _pairs(self) -> int:
        """Pairs that a judge is shown: every turn of a model and the baseline, in both orders."""
        baseline = self.experiment.replicates([self.experiment.pairwise["baseline"]])
        return 2 * self.facts.questions[1] * (len(self.experiment.rated) - len(baseline))

    def _answers(self, name: str, questions: int, turns: int) -> Work:
        """A model's answers to the benchmark, by one process.

        Layers that are spread over several GPUs are read one GPU after the other; only vLLM
        divides them.
        """
        bench, size = self.config["mt_bench"], self.size(name)
        devices, dtype = max(1, self.experiment.gpus(name)), self.config["precision"]["evaluation"]
        batches = -(-questions // bench["batch_size"])
        steps = batches * turns / questions * bench["max_new_tokens"]
        at_once = devices if bench["engine"] == "vllm" else 1
        bytes_ = self.answering_bytes(name, dtype, devices)
        read = steps * BYTES[dtype] * size.weights / (self.device["bandwidth"] * at_once)
        return Work(
            "answer",
            1,
            self.device["start"] + read,
            gpus=devices if self.on_gpus else 0,
            threads=self.threads,
            kept=self._answer_bytes(questions),
            host=memory.beside(self.config["device"], bytes_, 1),
            gpu_memory=memory.on_gpu(bytes_),
        )

    def answering_bytes(self, name: str, dtype: str, devices: int) -> float:
        """Memory of a model that answers, on each of its devices."""
        bench = self.config["mt_bench"]
        questions, turns = self.facts.questions
        length = PROMPT + round(turns / questions) * bench["max_new_tokens"]
        batch = min(questions * bench["choices"], bench["batch_size"])
        return memory.generation(self.size(name), dtype, batch, length, devices)

    def _leaderboard(self) -> Iterator[Work]:
        known, models = self.known["tasks"], self.experiment.replicates(self.experiment.ranked)
        if not models:
            return
        if "world" in self.config["data"]:
            kept = 4e3 + 1.4e3 * self.config["data"]["world"]["questions"]
            yield self._small("make_tasks", kept=kept)
        fetched = {task.get("repo"): name for name, task in self.experiment.tasks.items()}
        for repo, name in fetched.items():
            if repo is not None:
                megabytes = known.get(name, known[cost.ANY])["megabytes"]
                yield self._small("fetch_dataset", 1, megabytes / 100, kept=megabytes * 1e6)
        for name in models:
            yield self._evaluated(name)
        yield self._small("leaderboard", kept=5e3)

    def _evaluated(self, name: str) -> Work:
        """A model's tasks by one process, whose layers are read one GPU after the other."""
        wanted, size = self.config["leaderboard"], self.size(name)
        dtype = self.config["precision"]["evaluation"]
        devices = max(1, self.experiment.gpus(name))
        tokens, steps, longest = cost.task_work(wanted, self.known["tasks"])
        rate = self.device["forward"] * (self.device["float32"] if dtype == "float32" else 1)
        seconds = 2e9 * size.active * tokens / rate
        seconds += steps * BYTES[dtype] * size.weights / self.device["bandwidth"]
        batch = wanted["batch_size"] * longest
        bytes_ = memory.forward(size, dtype, batch, devices, self.config["device"])
        return Work(
            "evaluate_tasks",
            1,
            self.device["start"] + seconds,
            gpus=devices if self.on_gpus else 0,
            threads=self.threads,
            kept=3.5e3 + 8.0 * cost.documents(wanted, self.known["tasks"]),
            host=memory.beside(self.config["device"], bytes_, 1),
            gpu_memory=memory.on_gpu(bytes_),
        )

    def _answer_bytes(self, questions: int) -> float:
        """Bytes of a model's answer records; LLMs say more than the scale model."""
        return questions * (380.0 if self.experiment.generated else 3_000.0)

    def _elsewhere(self, questions: int, turns: int) -> Iterator[Work]:
        """Comparison rows that do not run here: published answers, and models behind an API."""
        for entry in self.experiment.elsewhere.values():
            if "published" in entry:
                yield self._small("fetch_answers", kept=3e5)
            calls = turns if "api" in entry else 0
            given = entry.get("api", {"concurrency": 1})
            kept = self._answer_bytes(questions)
            yield self._calls("answer_elsewhere", given, calls, kept=kept)
            yield from self._judging(questions, turns)

    def _judging(self, questions: int, turns: int) -> Iterator[Work]:
        for judge in self.config["mt_bench"]["judges"].values():
            asked = judge["kind"] == "openai"
            calls = turns * judge["repeats"] if asked else 0
            kept = calls * 4_000.0 if asked else questions * 860.0
            yield self._calls("judge", judge, calls, kept=kept)

    def budgets(self) -> list[tuple[str, float, float]]:
        """Each endpoint with a budget, the dollars that it is planned to take, and that budget."""
        bench = self.config["mt_bench"]
        turns = self.facts.questions[1] * bench["choices"]
        pairs = {self.experiment.pairwise["judge"]: self._pairs if "pairwise" in bench else 0}
        if settings := self.experiment.alpaca_eval:
            more = ALPACA_QUESTIONS * len(self.experiment.alpaca_models)
            pairs[settings["judge"]] = pairs.get(settings["judge"], 0) + more
        rated = len(self.experiment.rated)
        asked = {
            f"judges.{name}": (judge, turns * judge["repeats"] * rated + pairs.get(name, 0))
            for name, judge in bench["judges"].items()
        } | {
            f"comparisons.{name}": (entry["api"], turns)
            for name, entry in self.experiment.elsewhere.items()
            if "api" in entry
        }
        return [
            (name, self._calls(name, entry, calls, 0.0).dollars, entry["budget"])
            for name, (entry, calls) in asked.items()
            if "budget" in entry
        ]

    def calibration(self) -> Row | None:
        """What `snakemake calibration` would cost, which compares each LLM judge with people."""
        judges = [self.config["mt_bench"]["judges"][name] for name in self.experiment.llm_judges]
        answers = self.facts.voted_answers if judges else 0
        calls = [self._calls("calibrate_judge", judge, answers, 4e3 * answers) for judge in judges]
        return summed("calibrate_judge", calls) if calls else None

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

    def _report(self) -> Iterator[Work]:
        for rule in ("write_config", "score", "claims"):
            yield self._small(rule, kept=3e4)
        for table in ("write_table1", "write_table2"):
            yield self._small(table, kept=3e4)
        for name in self.experiment.figures:
            yield self._small(name if name == "figure1" else f"figure_{name}", kept=1.35e5)
        yield self._small("report", kept=1.2e6)
        yield self._small("agreement", int(self.experiment.raters > 1))
        yield self._small("pairwise", int("pairwise" in self.config["mt_bench"]), kept=1e4)
        sweeps = self.config["sweeps"].values()
        curves = sum(bool(sweep_values(self.experiment, rows)) for rows in sweeps)
        yield self._small("sweep_table", len(sweeps), kept=2e4)
        yield self._small("sweep_figure", len(sweeps) - curves, kept=1e5)
        yield self._small("sweep_curve", curves, kept=1e5)
        for rule in ("gains", "figure_map"):
            yield self._small(rule, len(self.config["maps"]), kept=1e5)
