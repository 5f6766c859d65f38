"""Names of the run and small helpers that every rule file uses."""

import os
import sys
from pathlib import Path
from snakemake.exceptions import WorkflowError

SCRIPTS = Path(workflow.basedir, "scripts")
sys.path.insert(0, str(SCRIPTS))


from fusionchat.config import checked
from fusionchat.errors import UserError
from fusionchat.code_files import source_files

try:
    config.update(checked(config, Path(workflow.basedir, "schemas/config.schema.yaml")))
except UserError as error:
    raise WorkflowError(str(error)) from None


RESULTS = f"results/{config['name']}"
CONFIG_FILE = os.path.relpath(workflow.configfiles[-1])
PIVOT = config["pivot"]
SOURCES = [name for name in config["models"] if name != PIVOT]
SHARDS = [f"{number:04d}" for number in range(config["data"]["shards"])]
COMPARED = {name: entry for name, entry in config["comparisons"].items() if "paper" not in entry}
ELSEWHERE = {
    name: COMPARED[name] for name in COMPARED if not {"repo", "path"} & COMPARED[name].keys()
}
MODELS = config["models"] | {name: COMPARED[name] for name in COMPARED if name not in ELSEWHERE}
VARIANTS = [f"@{name}" for name, target in config["targets"].items() if "alignment" in target]
EVALUATED = [*config["models"], *config["targets"], *config["merges"]]
RATED = [*COMPARED, *EVALUATED]
RELEASED = {
    name: part["checkpoint"]
    for group in (config["targets"], config["merges"])
    for name, part in group.items()
    if "checkpoint" in part
}


IMPORTED = [name for name, model in config["models"].items() if "logits" in model]
HELD_OUT = config["data"]["heldout"] > 0
TRAINED = [name for name in config["targets"] if name not in RELEASED]


def any_of(names):
    """A wildcard constraint: one of these names, or nothing at all when there are none."""
    return "|".join(names) or "(?!)"


def merges_by(*methods):
    """A wildcard constraint: the merges to make by one of these methods."""
    made = {name: merge for name, merge in config["merges"].items() if name not in RELEASED}
    return any_of([name for name, merge in made.items() if merge["method"] in methods])


def models_by(kind):
    """A wildcard constraint: the models that the config defines by this key."""
    return any_of([name for name, model in config["models"].items() if kind in model])


wildcard_constraints:
    model=any_of(RATED),
    source=any_of(SOURCES),
    variant=f"({'|'.join(['', *VARIANTS])})",
    target=any_of(config["targets"]),
    merge=any_of(config["merges"]),
    judge=any_of(config["mt_bench"]["judges"]),
    shard=any_of(SHARDS),
    sweep=any_of(config["sweeps"]),


def program(name):
    """A program's path from the working directory, so that a moved clone reruns nothing."""
    return os.path.relpath(SCRIPTS / f"{name}.py")


def code(name):
    """The files that decide what a program computes; compared by checksum as inputs."""
    return [os.path.relpath(file) for file in source_files(SCRIPTS / f"{name}.py")]


def checkpoint(name):
    """The manifest of a model, target or merged model; it is complete when that exists."""
    folder = "models" if name in MODELS else "targets" if name in config["targets"] else "merged"
    return f"{RESULTS}/{folder}/{name}/manifest.json"


PIVOT_MANIFEST = checkpoint(PIVOT)
CHECKPOINTS = [checkpoint(name) for name in RATED if name not in ELSEWHERE]


def folder(manifest):
    """The folder that a manifest completes."""
    return os.path.dirname(str(manifest))


def flags(option, values):
    """Command line words: the option before each value, for a quoted `{params.x:q}`."""
    return [word for value in values for word in (option, str(value))]
