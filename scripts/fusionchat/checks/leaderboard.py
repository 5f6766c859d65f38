"""The leaderboard's tasks: rows that there are, folders that there are, one revision a data set."""

from collections.abc import Iterator

from fusionchat.checks.common import missing_folder, unknown
from fusionchat.checks.harness_tasks import WORLD, unknown_tasks
from fusionchat.schema import Config

MEAN = "mean"  # the column of the tasks' mean


def faults(config: Config) -> Iterator[str]:
    """Faults of `leaderboard`."""
    wanted = config["leaderboard"]
    sections = ("comparisons", "models", "targets", "merges")
    here = [
        name
        for section in sections
        for name, entry in config[section].items()
        if section != "comparisons" or {"repo", "path"} & entry.keys()
    ]
    for name in wanted.get("models", ()):
        if name not in here:
            yield unknown("leaderboard.models", name, here)
    for folder in wanted["folders"]:
        yield from missing_folder("leaderboard.folders", {"folders": folder})
    if MEAN in wanted["tasks"]:
        yield f"leaderboard.tasks.{MEAN}: the mean of all tasks has this name; choose another one"
    revisions: dict[str, str | None] = {}
    for name, task in wanted["tasks"].items():
        if "repo" not in task:
            if "revision" in task:
                yield f"leaderboard.tasks.{name}.revision: needs a repo"
        elif revisions.setdefault(task["repo"], task.get("revision")) != task.get("revision"):
            yield (
                f"leaderboard.tasks.{name}.revision: another task takes another one of "
                f"{task['repo']}; give both the same"
            )
    generated = WORLD if "world" in config["data"] else ()
    for name, near in unknown_tasks(sorted(wanted["tasks"].keys() - generated), wanted["folders"]):
        yield (
            f"leaderboard.tasks.{name}: no YAML file of lm-evaluation-harness or of "
            f"leaderboard.folders speaks of it; `lm_eval ls tasks` lists its own{near}"
        )
