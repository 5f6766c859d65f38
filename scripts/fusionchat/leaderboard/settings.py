"""What the program that evaluates tasks is told; importing this costs nothing."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from fusionchat import cli
from fusionchat.errors import UserError

# Jobs take what was fetched before them; whoever would download in one is told at once.
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE")


@dataclass(frozen=True)
class TaskSettings:
    """A task or group of lm-evaluation-harness: examples in the prompt, and what is measured.

    `metric` is the harness's name, with the name of a filter behind a comma where it has one.
    """

    name: str
    shots: int
    metric: str


@dataclass(frozen=True)
class EvaluationOptions:
    """Tasks, the `folders` of local ones, fetched data sets by repository, and how to run them.

    `limit`: the first so many documents of each task. `device`: cpu, cuda, or auto for all GPUs.
    """

    model: Path
    tasks: tuple[TaskSettings, ...]
    folders: tuple[Path, ...] = ()
    data: tuple[tuple[str, Path], ...] = ()
    limit: int | None = None
    batch_size: int = 16
    engine: str = "local"
    chat_template: bool = False
    dtype: str = "float32"
    device: str = "cpu"


def task_argument(text: str) -> TaskSettings:
    """An argparse type: NAME:SHOTS:METRIC[,FILTER]."""
    name, _, rest = text.partition(":")
    shots, _, metric = rest.partition(":")
    if not (name and shots.isdecimal() and metric):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:SHOTS:METRIC[,FILTER]")
    return TaskSettings(name, int(shots), metric)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Every field of `EvaluationOptions` but the precision and the device."""
    add = parser.add_argument
    add("--model", type=cli.existing_path, required=True, help="Hugging Face folder, safetensors")
    add(
        "--task",
        dest="tasks",
        type=task_argument,
        action="append",
        required=True,
        metavar="NAME:SHOTS:METRIC[,FILTER]",
        help="a task or group of lm-evaluation-harness and what is measured; repeat",
    )
    add(
        "--folder",
        dest="folders",
        type=cli.existing_path,
        action="append",
        default=[],
        help="of tasks of one's own, YAML files; repeat",
    )
    add(
        "--data",
        type=cli.named_path,
        action="append",
        default=[],
        metavar="REPO=FOLDER",
        help="a fetched data set that takes the place of the hub's; repeat",
    )
    add("--limit", type=cli.positive_int, help="documents of a task, the first ones; else all")
    cli.add_settings(parser, "leaderboard", "batch_size", "engine", "chat_template")


def go_offline() -> None:
    """Keep every library from the network; call before they are imported."""
    for variable in OFFLINE:
        os.environ[variable] = "1"


def check_distinct(tasks: tuple[TaskSettings, ...]) -> None:
    """Refuse a task that is named twice."""
    names = [task.name for task in tasks]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"--task: {', '.join(twice)} is given twice; give each task once")
