"""Command line words that say a run's settings to its programs, for a quoted `{params.x:q}`."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from fusionchat.errors import UserError
from fusionchat.experiment import Experiment
from fusionchat.schema import Config


def flags(option: str, values: Iterable[object]) -> list[str]:
    """The option before each value."""
    return [word for value in values for word in (option, str(value))]


def pairs(names: Iterable[str], values: Iterable[object]) -> list[str]:
    """NAME=VALUE for each name."""
    return [f"{name}={value}" for name, value in zip(names, values, strict=True)]


def options(settings: Mapping[str, Any], *keys: str, skip: Collection[str] = ()) -> list[str]:
    """The option of each setting, or of these keys, named like the key: --key VALUE or --no-key.

    The order is that of `keys`, or alphabetical: a config whose keys change places reruns nothing.
    """
    words = []
    for key in keys or sorted(settings):
        if key in settings and key not in skip:
            option, value = key.replace("_", "-"), settings[key]
            if isinstance(value, bool):
                words.append(f"--{option}" if value else f"--no-{option}")
            else:
                words += [f"--{option}", _word(value)]
    return words


def _word(value: Any) -> str:
    """A value as a program reads it: an object in JSON."""
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else str(value)


def endpoint(settings: Config, model_option: str) -> list[str]:
    """Every setting of an endpoint; the model's option differs between programs."""
    renamed = {model_option if key == "model" else key: value for key, value in settings.items()}
    if "budget" in renamed:
        renamed["budget_usd"] = renamed.pop("budget")
    return options(renamed, skip=("kind",))


def judge_options(experiment: Experiment, name: str) -> list[str]:
    """The settings of a judge; what an LLM was paid for is kept, its key stays outside."""
    settings = experiment.config["mt_bench"]["judges"][name]
    if settings["kind"] != "openai":
        return options(settings, "repeats")
    store = f"{experiment.results}/mt_bench/paid/{name}"
    return ["--judge-name", name, "--store", store, *endpoint(settings, "judge_model")]


def asked_once(experiment: Experiment, name: str) -> list[str]:
    """The same where a judge is asked each thing once: compared with people, or shown pairs."""
    settings = dict(experiment.config["mt_bench"]["judges"][name])
    settings.pop("repeats")
    if settings["kind"] == "rule":
        return []
    store = f"{experiment.results}/mt_bench/paid/{name}"
    return ["--judge-name", name, "--store", store, *endpoint(settings, "judge_model")]


def alpaca_judge(experiment: Experiment) -> list[str]:
    """The settings of AlpacaEval's judge; which rating counts has no meaning there."""
    if not experiment.alpaca_eval:
        raise UserError("alpaca_eval: is not in the configuration; see docs/judges.md")
    words = asked_once(experiment, experiment.alpaca_eval["judge"])
    if "--rating" in words:
        place = words.index("--rating")
        words = words[:place] + words[place + 2 :]
    return [*words, *options(experiment.alpaca_eval, "seed", "logprobs")]


def table_rows(experiment: Experiment, names: Iterable[str]) -> list[str]:
    """--row for each model."""
    return flags("--row", rows(experiment, names))


def rows(experiment: Experiment, names: Iterable[str]) -> list[str]:
    """GROUP:NAME:LABEL[:PAPER_ROW] of each model, in the paper's groups."""
    groups = {
        "Comparison": "comparisons",
        "Source": "models",
        "Target": "targets",
        "Fused": "merges",
    }
    known = {
        name: _row(group, name, entry, entry.get("paper_row"))
        for group, section in groups.items()
        for name, entry in experiment.config[section].items()
    }
    return [known[name] for name in names]


def printed_rows(experiment: Experiment) -> list[str]:
    """--row for each model whose numbers are the paper's."""
    entries = experiment.config["comparisons"].items()
    printed = [_row("Paper", name, one, one["paper"]) for name, one in entries if "paper" in one]
    return flags("--row", printed)


def leaderboard_tasks(experiment: Experiment) -> list[str]:
    """--task for each task: what is asked and measured."""
    tasks = experiment.tasks.items()
    return flags("--task", [f"{name}:{task['shots']}:{task['metric']}" for name, task in tasks])


def task_columns(experiment: Experiment) -> list[str]:
    """--task for each column of their table."""
    tasks = experiment.tasks.items()
    labels = {name: task.get("label", name) for name, task in tasks}
    return flags("--task", [f"{name}:{task['average']}:{labels[name]}" for name, task in tasks])


def _row(group: str, name: str, entry: Config, paper: str | None) -> str:
    return ":".join([group, name, entry.get("label", name), *([paper] if paper else [])])


def null_controls(experiment: Experiment) -> list[str]:
    """--null A:B:WHY for merges that are the same average by construction, as TA and Linear are."""
    averages = {
        name: {target: weight / sum(weights.values()) for target, weight in weights.items()}
        for name in experiment.merged_by("linear", "task_arithmetic")
        if experiment.merges[name].base == name
        for weights in [experiment.merges[name].targets]
    }
    names = list(averages)
    same = [
        (a, b) for i, a in enumerate(names) for b in names[i + 1 :] if averages[a] == averages[b]
    ]
    return flags("--null", [f"{a}:{b}:the same weighted average" for a, b in same])


def claim_words(experiment: Experiment) -> list[str]:
    """--claim for each claim."""
    return flags("--claim", claims(experiment))


def claims(experiment: Experiment) -> list[str]:
    """CLAIM:ROW:CONTROL of each claim; its control is found by what the settings say."""
    words = []
    for main in experiment.claimed:
        targets = list(experiment.merges[main].targets)
        controls = {
            "fusion": [experiment.baseline] if experiment.baseline in experiment.targets else [],
            "knowledge": _alike(experiment, experiment.self_taught, targets[0]),
            "pairwise": _alike(experiment, _fused_at_once(experiment), targets[0]),
            "weights": _means(experiment, set(targets)),
            "merging": targets,
            "averaging": _means_of_plain_trainings(experiment),
        }
        words += [f"{claim}:{main}:{','.join(names)}" for claim, names in controls.items()]
    return words


def _alike(experiment: Experiment, names: Iterable[str], target: str) -> list[str]:
    """The first of these targets that was trained as `target` was."""
    return [name for name in names if experiment.trained_alike(name, target)][:1]


def _fused_at_once(experiment: Experiment) -> list[str]:
    return [name for name in experiment.taught if len(experiment.targets[name].sources) > 1]


def _plain_means(experiment: Experiment) -> dict[str, set[str]]:
    """Linear merges with equal weights, without their replicates, and their targets."""
    merges = [experiment.merges[name] for name in experiment.merged_by("linear")]
    return {
        merge.name: set(merge.targets)
        for merge in merges
        if merge.base == merge.name and len(set(merge.targets.values())) == 1
    }


def _means(experiment: Experiment, targets: set[str]) -> list[str]:
    means = _plain_means(experiment).items()
    return [name for name, members in means if members == targets][:1]


def _means_of_plain_trainings(experiment: Experiment) -> list[str]:
    means = _plain_means(experiment).items()
    plain = {name for name, target in experiment.targets.items() if not target.sources}
    return [name for name, members in means if len(members) > 1 and members <= plain][:1]


def sweep_values(experiment: Experiment, names: Sequence[str]) -> list[str]:
    """--setting and --value NAME=NUMBER where targets differ in one number, and in nothing else."""
    if not set(names) <= set(experiment.targets):
        return []
    settings = [_settings(experiment, name) for name in names]
    keys = dict.fromkeys(key for one in settings for key in one)
    varied = [key for key in keys if len({repr(one.get(key)) for one in settings}) > 1]
    values = [one.get(varied[0]) for one in settings] if len(varied) == 1 else []
    if not values or not all(type(value) in (int, float) for value in values):
        return []
    label = varied[0].replace("clm", "CLM").replace("_", " ")
    return ["--setting", label, "--value", *pairs(names, values)]


def _settings(experiment: Experiment, name: str) -> Config:
    """What a target is made by; seeds are no setting."""
    target = experiment.targets[name]
    parts = {"sources": target.sources, "mixture": target.mixture}
    for part in (target.training, target.fusion, target.alignment):
        parts |= {key: value for key, value in part.items() if key not in ("seed", "seeds")}
    return parts


def shards_of(experiment: Experiment, folder: str, names: Sequence[str]) -> list[str]:
    """NAME=FILE,FILE for the shards of each name in one of the run's folders."""
    place = f"{experiment.results}/{folder}"
    return pairs(
        names, [",".join(f"{place}/{n}/{s}.parquet" for s in experiment.shards) for n in names]
    )
