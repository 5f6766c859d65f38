"""Whether SLURM takes a run's jobs, and whether a job sees its GPUs and the shared folder."""

import getpass
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from fusionchat.cluster.doctor import Finding, last_line, output
from fusionchat.experiment import Experiment

LONGEST = 120.0  # seconds until a file of another node must be seen
COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "srun")
PROBE = (
    "import os, sys, torch; n = torch.cuda.device_count(); open(sys.argv[1], 'w').close(); "
    "print('visible', os.environ.get('CUDA_VISIBLE_DEVICES', 'none'), 'cuda', n, "
    "'bf16', n > 0 and torch.cuda.is_bf16_supported())"
)


def largest_job(experiment: Experiment) -> tuple[str, int]:
    """The rule whose job needs the most GPUs on a node, and their number."""
    asking = {"answer": max(experiment.gpus(name) for name in experiment.answering)}
    if experiment.trained:
        training = experiment.config["training"]
        asking["train_target"] = training["gpu"] // training["nodes"]
    return max(asking.items(), key=lambda item: item[1])


@dataclass(frozen=True)
class Probe:
    """A short job: the rule whose place in the profile it takes, and what it is to find out.

    It asks for so many GPUs, may wait so many seconds, runs this Python and leaves a file in a
    folder that all nodes must see.
    """

    rule: str
    gpus: int
    seconds: float
    python: str
    folder: Path


def slurm(profile: Mapping[str, Any], probe: Probe) -> Iterator[Finding]:
    """Commands, status query, account, partitions, and a short job that sees its GPUs."""
    lacking = [command for command in COMMANDS if not shutil.which(command)]
    if lacking:
        fix = "run this where jobs are submitted; on a machine without scheduler, with --local"
        yield Finding("SLURM", f"no {', '.join(lacking)}", fix)
        return
    yield from _status(profile)
    yield from _places(profile)
    if probe.gpus == 0:
        yield Finding("GPU job", "the configuration asks for no GPU")
        return
    yield from _gpu_job(gpu_job(profile, probe), probe)


def _status(profile: Mapping[str, Any]) -> Iterator[Finding]:
    query = profile.get("slurm-status-command", "sacct")
    code, text = output(query, "--noheader")
    fix = (
        "" if code == 0 else "without accounting set `slurm-status-command: squeue` in the profile"
    )
    found = f"{query} answers" if code == 0 else f"{query}: {last_line(text)}"
    yield Finding("status query", found, fix)


def _places(profile: Mapping[str, Any]) -> Iterator[Finding]:
    accounts = set() if profile.get("slurm-no-account") else _named(profile, "slurm_account")
    if accounts:
        mine = ("where", f"user={getpass.getuser()}", "format=account")
        code, text = output("sacctmgr", "-nP", "show", "assoc", *mine)
        yours = sorted(set(text.split())) if code == 0 else []
        listing = f"yours are {', '.join(yours) or 'none'}" if code == 0 else last_line(text)
        for account in sorted(accounts):
            known = account in yours
            fix = "" if known else "name one of yours as slurm_account, or slurm-no-account: true"
            yield Finding("account", f"{account}: {'yours' if known else listing}", fix)
    known_partitions = sorted(set(output("sinfo", "--noheader", "--format=%R")[1].split()))
    for partition in sorted(_named(profile, "slurm_partition")):
        known = partition in known_partitions
        fix = "" if known else f"name one of {', '.join(known_partitions)}"
        yield Finding("partition", f"{partition}: {'known' if known else 'unknown'}", fix)


def _named(profile: Mapping[str, Any], key: str) -> set[str]:
    """Every account or partition that a profile names; it may name several in a row."""
    groups = [profile.get("default-resources", {}), *profile.get("set-resources", {}).values()]
    values = [_plain(group[key]) for group in groups if key in group]
    return set(chain.from_iterable(re.split(r"[,\s]+", value) for value in values))


def _plain(value: object) -> str:
    """A resource as Snakemake takes it: without the quotes that keep it from being evaluated."""
    return str(value).strip("'\"")


def gpu_job(profile: Mapping[str, Any], probe: Probe) -> list[str]:
    """The srun command line of a job as the profile would submit it."""
    resources = dict(profile.get("default-resources", {}))
    resources |= profile.get("set-resources", {}).get(probe.rule, {})
    if profile.get("slurm-no-account"):
        resources.pop("slurm_account", None)
    given = {key: _plain(value) for key, value in resources.items()}
    model = f"{given['gpu_model']}:" if "gpu_model" in given else ""
    words = ["srun", "--nodes=1", "--ntasks=1", f"--gpus={model}{probe.gpus}"]
    options = {"slurm_account": "account", "slurm_partition": "partition"}
    for key, option in (options | {"constraint": "constraint", "qos": "qos"}).items():
        words += [f"--{option}={given[key]}"] if key in given else []
    for key in ("qos", "reservation"):
        words += [f"--{key}={profile[f'slurm-{key}']}"] if f"slurm-{key}" in profile else []
    return [*words, "--mem=4000", "--time=5"]


def _gpu_job(words: Sequence[str], probe: Probe) -> Iterator[Finding]:
    mark = probe.folder / f".doctor-job-{os.getpid()}"
    code, text = output(*words, probe.python, "-c", PROBE, str(mark), seconds=probe.seconds)
    command = " ".join(words)
    found = re.search(r"visible (\S+) cuda (\d+) bf16 (\w+)", text) if code == 0 else None
    if not found:
        fix = "try that line by hand; if only the queue is long, scripts/doctor.py --wait SECONDS"
        yield Finding("GPU job", f"`{command}`: {last_line(text)}", fix)
        return
    visible = 0 if found[1] == "none" else len(found[1].split(","))
    given = "" if visible == probe.gpus else "the partition gives no GPUs by --gpus; ask the site"
    yield Finding("GPU job", f"asked for {probe.gpus}, sees {visible} (`{command}`)", given)
    yield _cuda(probe.gpus, int(found[2]), found[3] == "True")
    yield _seen(mark)


def _cuda(wanted: int, found: int, bf16: bool) -> Finding:
    fix = (
        ""
        if found >= wanted and bf16
        else "torch cannot use them: install its CUDA build, or set device: cpu"
    )
    return Finding("CUDA and bf16", f"torch sees {found} of {wanted}, bf16 {bf16}", fix)


def _seen(mark: Path) -> Finding:
    """How long a file that a job wrote takes to appear here."""
    start = time.perf_counter()
    while not mark.exists() and time.perf_counter() - start < LONGEST:
        time.sleep(0.2)
        os.listdir(mark.parent)  # some network file systems look again only when asked for all
    seconds = time.perf_counter() - start
    there = mark.exists()
    mark.unlink(missing_ok=True)
    found = f"a job's file is seen here after {seconds:.1f} s" if there else "not seen here"
    fix = "" if there else f"put this folder where login and compute nodes share {mark.parent}"
    return Finding("shared folder", found, fix)


def local(gpus: int, python: str, folder: Path) -> Iterator[Finding]:
    """The GPUs of this machine, for a run without scheduler."""
    mark = folder / f".doctor-job-{os.getpid()}"
    code, text = output(python, "-c", PROBE, str(mark), seconds=300)
    mark.unlink(missing_ok=True)
    found = re.search(r"cuda (\d+) bf16 (\w+)", text) if code == 0 else None
    if found:
        yield _cuda(gpus, int(found[1]), found[2] == "True")
    else:
        yield Finding("CUDA and bf16", last_line(text), "install torch where this program runs")
