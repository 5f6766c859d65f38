"""Which models a run's benchmarks rate, and who judges them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fusionchat.experiment.models import Models
from fusionchat.replicates import split_replicate
from fusionchat.schema import Config


@dataclass(frozen=True)
class Benchmarks(Models):
    """The models that are rated and how: MT-Bench, likelihood, leaderboard, AlpacaEval."""

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

    @cached_property
    def answering(self) -> list[str]:
        """Every model that answers the benchmark here."""
        return [name for name in self.rated if name not in self.elsewhere]

    @property
    def generated(self) -> bool:
        """Whether the benchmark's questions belong to the generated world."""
        return "world" in self.config["data"] and "questions" not in self.config["mt_bench"]

    @property
    def questions(self) -> str:
        """The benchmark's questions: generated with the world, or as fetch_questions left them."""
        place = "world/questions.jsonl" if self.generated else "mt_bench/questions/question.jsonl"
        return f"{self.results}/{place}"

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
    def llm_judges(self) -> list[str]:
        """The judges behind an endpoint, which ask for prompts and may be compared with people."""
        judges = self.config["mt_bench"]["judges"]
        return [name for name, judge in judges.items() if judge["kind"] == "openai"]

    def judging_file(self, judge: str, name: str) -> list[str]:
        """A file of the benchmark that an LLM judges with; a program needs none."""
        kind = self.config["mt_bench"]["judges"][judge]["kind"]
        return [f"{self.results}/mt_bench/questions/{name}"] if kind == "openai" else []

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

    @property
    def task_files(self) -> list[str]:
        """The files of local tasks, but those of the generated world."""
        files = (
            path
            for folder in self.config["leaderboard"]["folders"]
            for path in sorted(Path(folder).rglob("*"))
        )
        return [str(f) for f in files if f.is_file() and "__pycache__" not in f.parts]
