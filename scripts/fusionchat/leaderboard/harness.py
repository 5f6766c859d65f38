"""Tasks and models of lm-evaluation-harness: what it may run, on which data, by which model."""

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from lm_eval import evaluator
from lm_eval.api.metrics import mean
from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED
from lm_eval.tasks import TaskManager

from fusionchat.errors import UserError
from fusionchat.leaderboard.settings import EvaluationOptions, TaskSettings
from fusionchat.models.loading import check_plain_names, load_model
from fusionchat.models.model_config import load_config, one_line
from fusionchat.models.remote_code import runs_code
from fusionchat.models.tokenizer import check_vocabulary, load_tokenizer

# Builders of the library of data sets that read local files; all other names are repositories.
FILES = ("json", "csv", "parquet", "text", "arrow")


@dataclass(frozen=True)
class Leaf:
    """One task without parts; a group has several. `key` is the metric with its filter."""

    settings: TaskSettings
    task: Any
    key: str


def load_tasks(options: EvaluationOptions, cache: str) -> list[Leaf]:
    """The tasks with their documents; whatever would not be measured as asked is a `UserError`.

    `cache`: a folder for the library of data sets, needed as long as the tasks are.
    """
    manager = _manager(options)
    leaves = []
    with _local_data(dict(options.data), cache):
        for settings in options.tasks:
            try:
                tasks = manager.load([settings.name])["tasks"].values()
            except UserError:
                raise
            except Exception as error:  # whatever a wrong YAML file does to the harness
                raise UserError(
                    f"task {settings.name} cannot be read: {one_line(error)}"
                ) from error
            leaves += [_checked(task, settings) for task in tasks]
    names = [leaf.task.task_name for leaf in leaves]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"task {twice[0]} is part of two of the tasks; leave one of them out")
    return leaves


def _manager(options: EvaluationOptions) -> TaskManager:
    """The folders of local tasks; the harness's own thousands, which take long, only if needed."""
    folders = [str(folder) for folder in options.folders]
    known = TaskManager(include_path=folders, include_defaults=False)
    if not all(task.name in known.all_tasks for task in options.tasks):
        known = TaskManager(include_path=folders)
    for task in options.tasks:
        if task.name not in known.all_tasks:
            raise UserError(
                f"task {task.name} is neither one of lm-evaluation-harness nor in a local folder "
                f"({', '.join(folders) or 'none given'}); `lm_eval ls tasks` lists its own"
            )
    return known


@contextmanager
def _local_data(folders: Mapping[str, Path], cache: str) -> Iterator[None]:
    """Let a task's repository stand for the folder that was fetched of it, and no other do."""
    load = datasets.load_dataset

    def load_fetched(path: str, *args: Any, **kwargs: Any) -> Any:
        kwargs = {**kwargs, "cache_dir": cache}
        if path in folders:
            return load(str(folders[path]), *args, **kwargs)
        if path not in FILES and not Path(path).is_dir():
            given = ", ".join(folders) or "none is given"
            raise UserError(
                f"data set {path} was not fetched ({given}); name it as the task's `repo`"
            )
        return load(path, *args, **kwargs)

    datasets.load_dataset = load_fetched
    try:
        yield
    finally:
        datasets.load_dataset = load


def _checked(task: Any, settings: TaskSettings) -> Leaf:
    """A task that measures what is asked for, by a mean over documents, and runs no answer."""
    name = task.task_name
    metric, _, wanted = settings.metric.partition(",")
    filters = [one.name for one in task._filters]
    if getattr(task, "UNSAFE_CODE", False):
        raise UserError(f"task {name} runs code that the model writes; choose another task")
    if task.get_config("num_fewshot") == 0 and settings.shots:
        raise UserError(f"task {name} is defined without examples; give it 0 shots")
    if metric not in task.aggregation():
        known = ", ".join(task.aggregation())
        raise UserError(f"task {name} has no metric {metric} (it has {known})")
    if (wanted or filters[0]) not in filters or (len(filters) > 1 and not wanted):
        known = ", ".join(f"{metric},{one}" for one in filters)
        raise UserError(f"task {name}: choose one of the metrics {known}")
    if task.aggregation()[metric] is not mean:
        raise UserError(f"task {name}: {metric} is no mean over documents; choose another metric")
    if not task.higher_is_better()[metric]:
        raise UserError(f"task {name}: less of {metric} is better; choose another metric")
    _check_prompt(task, settings.shots)
    return Leaf(settings, task, f"{metric},{wanted or filters[0]}")


def _check_prompt(task: Any, shots: int) -> None:
    """Ask the first document: some kinds of tasks have no form for examples."""
    _set_shots(task, shots)
    try:
        task.build_all_requests(limit=1)
    except Exception as error:  # whatever a template does to the harness
        raise UserError(
            f"task {task.task_name} cannot be asked with {shots} shots: {one_line(error)}"
        ) from error


def _set_shots(task: Any, shots: int) -> None:
    task.set_config(key="num_fewshot", value=shots)
    task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)


def digest(leaf: Leaf) -> str:
    """A checksum of a local task's documents, which may lie anywhere; a data set has its lock."""
    checksum = hashlib.sha256()
    for split in sorted(leaf.task.dataset) if leaf.task.DATASET_PATH in FILES else ():
        for row in leaf.task.dataset[split]:
            checksum.update(json.dumps(row, sort_keys=True, default=str).encode())
    return checksum.hexdigest()


def load_harness_model(options: EvaluationOptions) -> Any:
    """The model as the harness calls it, after the checks that every model here goes through."""
    tokenizer = load_tokenizer(options.model)
    check_vocabulary(load_config(options.model), tokenizer, options.model)
    if options.chat_template and not tokenizer.chat_template:
        raise UserError(f"--chat-template: the tokenizer of {options.model} has none")
    if options.engine == "vllm":
        return _vllm(options)
    from lm_eval.models.huggingface import HFLM

    model = load_model(options.model, options.dtype, options.device)
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=options.batch_size)


def _vllm(options: EvaluationOptions) -> Any:
    check_plain_names(options.model)
    try:
        from lm_eval.models.vllm_causallms import VLLM

        return VLLM(
            pretrained=str(options.model),
            dtype=options.dtype,
            batch_size=options.batch_size,
            trust_remote_code=runs_code(options.model),
            tensor_parallel_size=torch.cuda.device_count() if options.device == "auto" else 1,
        )
    except ImportError as error:
        raise UserError(
            "--engine vllm: vLLM is not installed here; it has an environment of its own, "
            "envs/vllm.yaml"
        ) from error


def measure(model: Any, leaf: Leaf, options: EvaluationOptions) -> list[tuple[str, float]]:
    """Each document's id and value, with the seeds of the harness's own command line."""
    task, name = leaf.task, leaf.task.task_name
    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)
    torch.manual_seed(DEFAULT_OTHER_SEED)
    _set_shots(task, leaf.settings.shots)
    results = evaluator.evaluate(
        lm=model,
        task_dict={"tasks": {name: task}, "groups": {}, "group_map": {}},
        limit=options.limit,
        bootstrap_iters=0,
        apply_chat_template=options.chat_template,
        fewshot_as_multiturn=options.chat_template,
    )
    documents = _documents(results["samples"][name], leaf.key)
    average = float(np.mean([value for _, value in documents]))
    stated = float(results["results"][name][leaf.key])
    if not abs(average - stated) < 1e-9:
        raise UserError(f"task {name}: the documents' mean is {average}, not its score {stated}")
    if not all(0 <= value <= 1 for _, value in documents):
        raise UserError(f"task {name}: {leaf.key} is no share from 0 to 1; choose another metric")
    return documents


def _documents(samples: Sequence[Mapping[str, Any]], key: str) -> list[tuple[str, float]]:
    metric, _, wanted = key.partition(",")
    chosen = [sample for sample in samples if sample["filter"] == wanted]
    return [(str(sample["doc_id"]), float(sample[metric])) for sample in chosen]
