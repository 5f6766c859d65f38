"""Where comes from what a run does not make itself: models, dialogues and published answers."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fusionchat.alpaca_eval.data import FILES
from fusionchat.experiment import Experiment
from fusionchat.experiment.mixtures import SAMPLE_MIXTURE
from fusionchat.files import read_json
from fusionchat.mt_bench import fetching
from fusionchat.schema import Config

LOCKS = Path("configs")  # a committed NAME.lock.json lies beside its configuration
DATA_SET = "data-set"  # no model that a configuration names has a hyphen
ANSWERS_REPO = "lmsys/mt-bench"  # a space, not a model
ANSWERS_FILE = "data/mt_bench/model_answer/{}.jsonl"
VOTES = "human-votes"  # people's votes on answers to MT-Bench
VOTES_REPO = "lmsys/mt_bench_human_judgments"
VOTES_FILE = "data/human-00000-of-00001-25f4910818759289.parquet"


@dataclass(frozen=True)
class Origins:
    """The origins of an experiment's inputs, by name."""

    experiment: Experiment

    @cached_property
    def models(self) -> dict[str, Config]:
        """The folder or repository of each model that is fetched, released checkpoints included."""
        given = self.experiment.models
        fetched = {name: model for name, model in given.items() if "pretrain" not in model}
        return fetched | self.experiment.released

    @cached_property
    def answers(self) -> dict[str, Config]:
        """Answers that FastChat's authors published, by compared model."""
        return {
            name: {"repo": ANSWERS_REPO, "file": ANSWERS_FILE.format(entry["published"])}
            for name, entry in self.experiment.elsewhere.items()
            if "published" in entry
        }

    @cached_property
    def task_data(self) -> dict[str, Config]:
        """Data sets of the leaderboard's tasks, each once, by a name that no model has."""
        tasks = self.experiment.tasks.values() if self.experiment.ranked else ()
        origins = {task["repo"]: task for task in tasks if "repo" in task}
        return {f"task-{repo.replace('/', '-')}": task for repo, task in origins.items()}

    def task_manifest(self, name: str) -> str:
        """The manifest of such a data set; its folder is complete with it."""
        return f"{self.experiment.results}/datasets/{name}/manifest.json"

    @property
    def task_folders(self) -> list[str]:
        """REPO=FOLDER of each such data set."""
        results, tasks = self.experiment.results, self.task_data.items()
        return [f"{task['repo']}={results}/datasets/{name}/files" for name, task in tasks]

    @cached_property
    def hub(self) -> dict[str, Config]:
        """Everything that is locked on the hub before it is fetched."""
        data = self.experiment.config["data"]
        models = {name: origin for name, origin in self.models.items() if "repo" in origin}
        mixture = {DATA_SET: data} if "repo" in data else {}
        return models | mixture | self.answers | self.task_data

    @property
    def asks(self) -> bool:
        """Whether the run uses MT-Bench's files: its questions, or its prompts for a judge."""
        return not self.experiment.generated or bool(self.experiment.llm_judges)

    @cached_property
    def downloads(self) -> dict[str, str]:
        """Files locked by checksum: the address of each, and the manifest that stands for it."""
        run, benchmark = self.experiment, self.experiment.config["mt_bench"]
        own = "questions" in benchmark or not self.asks
        names = [name for name in fetching.PATHS if name.split(".")[0] not in benchmark]
        files = [] if own else [fetching.address(name) for name in names]
        alpaca = run.alpaca_eval and "data" not in run.alpaca_eval
        places = dict.fromkeys(files, f"{run.results}/mt_bench/questions/manifest.json")
        more = [url for url, _ in FILES.values()] if alpaca else []
        return places | dict.fromkeys(more, f"{run.results}/alpaca_eval/data/manifest.json")

    @property
    def lockable(self) -> dict[str, Config]:
        """What is locked where it is asked for: `hub`, and what judges are calibrated with."""
        return self.hub | {VOTES: {"repo": VOTES_REPO, "file": VOTES_FILE}}

    @property
    def votes(self) -> str:
        """The file of people's votes: a local one or the fetched one."""
        fetched = f"{self.experiment.results}/mt_bench/{VOTES}.parquet"
        return str(self.experiment.config["mt_bench"].get("human_votes", fetched))

    def reference(self, name: str) -> list[str]:
        """What to lock: the option for its kind, and NAME=REPO[@REVISION][:FILE]."""
        origin = self.lockable[name]
        commit = origin.get("remote_code", origin.get("revision"))
        revision = f"@{commit}" if commit else ""
        file = f":{origin['file']}" if "file" in origin else ""
        whole = "--dataset" if name in self.task_data else "--model"
        option = "--space" if name in self.answers else "--data" if file else whole
        code = ["--remote-code"] if "remote_code" in origin else []
        return [option, f"{name}={origin['repo']}{revision}{file}", *code]

    def lock(self, name: str) -> str:
        """A lock file; a committed one that has the entry takes precedence over the run's own."""
        committed = LOCKS / f"{self.experiment.config['name']}.lock.json"
        names = read_json(committed) if committed.is_file() else {}
        return str(committed) if name in names else f"{self.experiment.results}/locks/{name}.json"

    def model(self, name: str) -> str:
        """The file that a fetched model depends on: its lock, or its local configuration."""
        origin = self.models[name]
        return self.lock(name) if "repo" in origin else f"{origin['path']}/config.json"

    def mixture(self, prefix: str = "") -> str:
        """The file of dialogues: generated, which has variants, local or fetched."""
        data, results = self.experiment.config["data"], self.experiment.results
        if "world" in data:
            return f"{results}/mixtures/{prefix.removesuffix(SAMPLE_MIXTURE)}mixture.json"
        return str(data.get("path", f"{results}/data/{self.data_file}"))

    @property
    def data_file(self) -> str:
        """What a fetched file of dialogues is called; the suffix tells its format."""
        suffix = Path(self.experiment.config["data"].get("file", "")).suffix
        return f"mixture{suffix or '.json'}"

    def published(self, name: str) -> list[str]:
        """The answers of a compared model that somebody made: a local file or a fetched one."""
        entry = self.experiment.elsewhere[name]
        fetched = f"{self.experiment.results}/mt_bench/published/{name}.jsonl"
        return [] if "api" in entry else [entry.get("answers", fetched)]
