"""What a plan knows of a run's inputs: sizes of models, lengths of dialogues, questions, votes.

What is here is read: folders of models, the data file, the benchmark's files, fetched or one's own.
What is not is taken from resources/throughputs.yaml or guessed from a model's name; `notes` say so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from fusionchat.alignment.contest import idle_verdict
from fusionchat.cluster.costs import lengths
from fusionchat.cluster.costs.lengths import Lengths
from fusionchat.cluster.costs.sizes import (
    Size,
    named_size,
    pretrained_size,
    stored_size,
    typical_size,
)
from fusionchat.errors import UserError
from fusionchat.experiment import Experiment
from fusionchat.experiment.mixtures import SAMPLE
from fusionchat.mt_bench.fetching import LOCAL_NAMES
from fusionchat.mt_bench.questions import read_questions
from fusionchat.origins import Origins


@dataclass
class Facts:
    """The inputs of one experiment; `known` are the assumptions of resources/throughputs.yaml."""

    experiment: Experiment
    known: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)
    _sizes: dict[str, Size] = field(default_factory=dict)

    def size(self, name: str) -> Size:
        """The size of a model, target or merged model."""
        name = name if name in self.experiment.models else self.experiment.pivot
        if name not in self._sizes:
            self._sizes[name] = self._size(name, self.experiment.models[name])
        return self._sizes[name]

    def _size(self, name: str, model: Mapping[str, Any]) -> Size:
        if "pretrain" in model:
            return pretrained_size(model["pretrain"])
        if "path" in model:
            return stored_size(Path(model["path"]))
        fetched = Path(self.experiment.manifest(name))
        if fetched.is_file():
            return stored_size(fetched.parent)
        repo = model["repo"]
        if repo in self.known["models"]:
            return typical_size(**self.known["models"][repo])
        guess = named_size(repo)
        if guess is None:
            raise UserError(
                f"models.{name}: the name {repo} does not tell its size; fetch it first (snakemake "
                f"fetched), or give --throughputs FILE with `models: {{{repo}: {{parameters: "
                "BILLIONS, active: BILLIONS}}`"
            )
        self.notes.append(f"{name}: {guess.parameters:g} billion parameters by its name, {repo}.")
        return guess

    @cached_property
    def data(self) -> Lengths:
        """All dialogues of the run's mixture, those that are held out included."""
        data = self.experiment.config["data"]
        limit = data["max_length"]
        if "world" in data:
            count = data["world"]["mixture"]
            return lengths.assumed(self.known["data"]["world"], count, limit, "the generated world")
        file = Path(Origins(self.experiment).mixture())
        mixture = self._measured(file) if file.is_file() else self._assumed(data)
        self.notes.append(
            f"Dialogues: {mixture.dialogues:,.0f} of {mixture.parts * mixture.mean:,.0f} tokens, "
            f"{mixture.parts * mixture.response_tokens:,.0f} of them answers; {mixture.origin}."
        )
        return mixture

    def _measured(self, file: Path) -> Lengths:
        data = self.experiment.config["data"]
        models, pivot = self.experiment.models, self.experiment.pivot
        here = models[pivot].get("path", Path(self.experiment.manifest(pivot)).parent)
        count = lengths.token_counter(Path(here))
        skip = data["on_error"] == "skip"
        return lengths.measured(
            file, count, data["max_length"], skip=skip, origin=f"measured on {file}"
        )

    def _assumed(self, data: Mapping[str, Any]) -> Lengths:
        """A data set of the hub that is not here yet."""
        known, repo = self.known["data"], data.get("repo")
        if repo is None:
            raise UserError("data: no path, repo or world says where the dialogues are")
        usual = known["any"] | known.get(repo, {})
        if "dialogues" not in usual and "limit" not in data:
            raise UserError(
                f"data.repo: how many dialogues {repo} has shows once it is here; fetch it first "
                f"(snakemake fetched), set data.limit, or give --throughputs FILE with "
                f"`data: {{{repo}: {{dialogues: NUMBER}}}}`"
            )
        count = usual.get("dialogues", data.get("limit"))
        origin = "lengths assumed, the data set is not here yet (resources/throughputs.yaml)"
        return lengths.assumed(usual, count, data["max_length"], origin)

    @cached_property
    def dialogues(self) -> float:
        """Dialogues to train on, after those that are too long were split."""
        data, count = self.experiment.config["data"], self.data.dialogues
        rest = count - data["heldout"]
        if rest <= 0:
            raise UserError(
                f"data.heldout: {data['heldout']} of {count:,.0f} dialogues leave none to train on"
            )
        return min(rest, data.get("limit", rest)) * self.data.parts

    @cached_property
    def questions(self) -> tuple[int, int]:
        """Questions of the benchmark, and their turns together."""
        given = self.experiment.config["mt_bench"].get("questions")
        places = [Path(given, name) for name in LOCAL_NAMES["question.jsonl"] if given]
        for file in (*places, Path(self.experiment.questions)):
            if file.is_file():
                questions = read_questions(file)
                return len(questions), sum(len(question.turns) for question in questions)
        known = self.known["questions"]
        count = known["fetched"]
        if self.experiment.generated:
            world = self.experiment.config["data"]["world"]
            count = known["generated_categories"] * world["questions"]
        return count, count * known["turns"]

    @property
    def idle_sources(self) -> list[str]:
        """Verdicts on the sources that win no dialogue, where their alignment, whole or of the
        sample for `worth`, is here.
        """
        folder = Path(self.experiment.results, "alignment")
        verdicts = []
        for source in self.experiment.sources:
            reports = (folder / f"{source}{part}.json" for part in ("", SAMPLE))
            here = next(filter(Path.is_file, reports), None)
            verdicts.append(idle_verdict(here) if here else "")
        return [verdict for verdict in verdicts if verdict]

    @cached_property
    def voted_answers(self) -> int:
        """Answers that people voted on, which a judge is calibrated with."""
        file = Path(Origins(self.experiment).votes)
        if not file.is_file():
            return int(self.known["questions"]["voted"])
        from fusionchat.mt_bench.judging.human_votes import read_votes

        return len({item for pair in read_votes(file).votes for item in pair})
