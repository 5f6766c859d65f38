"""What a run will cost before anything runs: jobs, time, disk, memory and judge calls of each rule.

It is computed from the experiment, what is known of its inputs (facts.py) and a table of
throughputs (resources/throughputs.yaml); it knows nothing of the machine. Hours are those of one
job's allocation, so GPU-hours are hours times GPUs; on CPUs they are those of all its threads.
Disk is in bytes: kept for good, or only while a job runs.
"""

from collections.abc import Callable, Iterator

from fusionchat.cluster.costs.evaluation_stages import ALPACA_QUESTIONS, EvaluationStages
from fusionchat.cluster.costs.fusion_stages import FusionStages
from fusionchat.cluster.costs.work import Row, Work, summed
from fusionchat.command_words import sweep_values


class Plan(FusionStages, EvaluationStages):
    """The jobs that an experiment asks for."""

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
