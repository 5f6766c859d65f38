"""The work of rating models: answers, judgments, held-out likelihood and tasks."""

from collections.abc import Iterator
from dataclasses import replace

from fusionchat.cluster.costs import memory
from fusionchat.cluster.costs.sizes import BYTES
from fusionchat.cluster.costs.stage_costs import StageCosts
from fusionchat.cluster.costs.work import Work
from fusionchat.leaderboard import cost

PROMPT = 400  # tokens of a question and its chat format; guess
ALPACA_QUESTIONS = 805


class EvaluationStages(StageCosts):
    """MT-Bench, AlpacaEval, comparisons with models elsewhere, and the leaderboard."""

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
