"""Evaluate a model on tasks, document by document; what a killed run has finished is kept."""

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fusionchat.files import checksums
from fusionchat.leaderboard import harness
from fusionchat.leaderboard.documents import Parts
from fusionchat.leaderboard.settings import EvaluationOptions, check_distinct
from fusionchat.models.finished import fingerprint
from fusionchat.models.loading import check_weights
from fusionchat.progress import progress


def evaluate_tasks(options: EvaluationOptions, output: Path) -> None:
    """Write the Parquet file of one model's scores; network and generated code stay off."""
    check_distinct(options.tasks)
    check_weights(options.model)
    with tempfile.TemporaryDirectory() as cache:
        leaves = harness.load_tasks(options, cache)
        names = [leaf.task.task_name for leaf in leaves]
        local = {leaf.task.task_name: harness.digest(leaf) for leaf in leaves}
        parts = Parts(output, run_facts(options) | {"local": local})
        waiting = [leaf for leaf in leaves if not parts.has(leaf.task.task_name)]
        model = harness.load_harness_model(options) if waiting else None
        for leaf in progress(waiting, desc="tasks", unit="task"):
            documents = harness.measure(model, leaf, options)
            parts.write(leaf.settings.name, leaf.task.task_name, documents)
        parts.finish(names)


def run_facts(options: EvaluationOptions) -> dict[str, Any]:
    """What decides the scores; batch sizes and devices do not."""
    tasks = {task.name: {"shots": task.shots, "metric": task.metric} for task in options.tasks}
    return {
        "model": fingerprint(options.model),
        "tasks": tasks,
        "folders": [checksums(folder) for folder in options.folders],
        "data": {repo: checksums(folder) for repo, folder in options.data},
        "limit": options.limit,
        "engine": options.engine,
        "chat_template": options.chat_template,
        "dtype": options.dtype,
        "lm_eval": version("lm_eval"),
    }
