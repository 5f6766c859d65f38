"""The run's experiment, and what only Snakemake can say about it."""

import os
import re
import sys
from pathlib import Path

SCRIPTS = Path(workflow.basedir, "scripts")
sys.path.insert(0, str(SCRIPTS))


from fusionchat.checks import invocation
from fusionchat.code_files import code_checksum
from fusionchat.command_words import flags, options, pairs, table_rows
from fusionchat.config import checked
from fusionchat.errors import UserError
from fusionchat.experiment import Experiment
from fusionchat.experiment.mixtures import SAMPLE, SAMPLE_MIXTURE
from fusionchat.locks import snakemake_locks
from fusionchat.origins import Origins
from fusionchat.progress import show_running_jobs
from fusionchat.readers.yaml import read_yaml

snakemake_locks.install()

GIVEN = [os.path.relpath(file) for file in workflow.config_settings.configfiles or ["config.yaml"]]
try:
    for file in GIVEN:
        read_yaml(file)  # says where a key stands twice, which Snakemake lets pass
except (UserError, OSError) as error:
    raise SystemExit(f"error: {error}") from None


# Another --configfile takes the place of the scale model's; it is not laid over it.
if not workflow.config_settings.configfiles:

    configfile: "config.yaml"


try:
    config.update(checked(config, GIVEN, dict(workflow.config_settings.config)))
except (UserError, OSError) as error:
    raise SystemExit(f"error: {error}") from None


experiment = Experiment(config)
origins = Origins(experiment)
RESULTS = experiment.results
PIVOT = experiment.pivot
SOURCES = experiment.sources
SHARDS = experiment.shards
PIVOT_MANIFEST = experiment.manifest(PIVOT)
METRICS = []  # files of benchmarks, each appended by its own: columns of Table 1, claims and report


def any_of(names):
    """A wildcard constraint: one of these names, or nothing at all when there are none."""
    return "|".join(names) or "(?!)"


wildcard_constraints:
    model=any_of(experiment.rated),
    source=any_of(SOURCES),
    variant=f"({'|'.join(['', re.escape(SAMPLE), *experiment.variants])})",
    target=any_of(experiment.targets),
    merge=any_of(experiment.merges),
    judge=any_of(config["mt_bench"]["judges"]),
    mixture=f"({'|'.join([*experiment.mixtures, re.escape(SAMPLE_MIXTURE)])})",
    shard=any_of(
        [
            *(f"{prefix}{shard}" for prefix in experiment.mixtures for shard in SHARDS),
            *map(re.escape, experiment.aligned_shards(SAMPLE)),
        ]
    ),
    sweep=any_of(config["sweeps"]),
    map=any_of(config["maps"]),


def program(name):
    """A program's path from the working directory, so that a moved clone reruns nothing."""
    return os.path.relpath(SCRIPTS / f"{name}.py")


def code(name):
    """A parameter that changes with the files that decide what a program computes.

    One parameter, as Snakemake would look at some thirty inputs of every job again and again; and a
    function, so that a job reads the imports of its own program alone.
    """
    return lambda wildcards: code_checksum(SCRIPTS / f"{name}.py")


def resource(name):
    """A file of resources/, from the working directory."""
    return os.path.relpath(Path(workflow.basedir, "resources", name))


def possible(result):
    """An input function: no file, but the end before any job where the run cannot have a result."""

    def check(wildcards):
        if need := experiment.absent.get(result):
            raise SystemExit(f"error: {result} needs {need}; this configuration has none")
        return []

    return check


def refuse_unknown():
    """End before any job where snakemake was asked for what is not there."""
    if workflow.is_main_process and "snakemake" in sys.argv[0]:
        names = [rule.name for rule in workflow.rules]
        for fault in invocation.faults(sys.argv[1:], names, RESULTS):
            raise SystemExit(f"error: {fault}")


def folders(manifests):
    """The folders that manifests complete."""
    return [os.path.dirname(str(manifest)) for manifest in manifests]


def aligned(folder):
    """An input function: the files of one alignment's shards in a folder of the run."""
    return lambda w: [
        f"{RESULTS}/{folder.format(w=w)}/{shard}.parquet"
        for shard in experiment.aligned_shards(w.variant)
    ]


def figure(name):
    """A figure that also goes into Snakemake's own report."""
    caption = f"../resources/captions/{name}.rst"
    return report(f"{RESULTS}/figures/{name}.svg", caption=caption, category="Figures")


def table(name):
    """A table that also goes into Snakemake's own report."""
    caption = f"../resources/captions/{name}.rst"
    return report(f"{RESULTS}/tables/{name}.html", caption=caption, category="Tables")
