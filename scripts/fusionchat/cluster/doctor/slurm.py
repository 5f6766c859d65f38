"""Whether SLURM takes a run's jobs, and whether a job sees its GPUs and the shared folder."""

import getpass
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from fusionchat.cluster.doctor import limits, partitions
from fusionchat.cluster.doctor.checks import Finding, last_line, output
from fusionchat.cluster.doctor.partitions import Wanted
from fusionchat.cluster.doctor.requests import (
    Request,
    gpus,
    plain,
    requests,
    resources,
    section,
    unedited,
)
from fusionchat.experiment import Experiment

LONGEST = 120.0  # seconds until a file of another node must be seen
COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "srun")
PROBE = Path(__file__).with_name("node_probe.py")
SEEN = re.compile(r"node (\S+) visible (\S+) cuda (\d+) bf16 (\w+) memory ([\d.]+) peers (\w+)(.*)")

# What jobs of these rules need more than GPUs of so many GB have.
TooLarge = Callable[[float, Collection[str]], Sequence[str]]


def gpus_a_node(experiment: Experiment) -> dict[str, int]:
    """GPUs that the jobs of each rule ask for on a node; nothing on CPUs."""
    if experiment.config["device"] != "cuda":
        return {}
    most = max(experiment.gpus(name) for name in experiment.answering)
    asking = dict.fromkeys(("answer", "dump_logits", "measure_nll", "evaluate_tasks"), most)
    training = experiment.config["training"]
    return asking | {"train_target": training["gpu"] // training["nodes"]}


def largest_job(experiment: Experiment, rules: Sequence[str]) -> tuple[str, int]:
    """The rule of a run whose job needs the most nodes and GPUs on each, and these GPUs."""
    asking = {rule: n for rule, n in gpus_a_node(experiment).items() if rule in rules}
    if "train_target" in rules and experiment.config["training"]["nodes"] > 1:
        return "train_target", asking.get("train_target", 0)
    return max(asking.items(), key=lambda item: item[1], default=(rules[0], 0))


def wanted(
    experiment: Experiment, rules: Sequence[str], folder: Path, profile: Mapping[str, Any]
) -> dict[str, Wanted]:
    """What the jobs of a run that are submitted ask for, by rule; `folder` has the rules."""
    parts = len(experiment.shards), len(experiment.mixtures)
    asked: dict[str, Request] = requests(folder, profile, *parts)
    needed, nodes = gpus_a_node(experiment), experiment.config["training"]["nodes"]
    given = {rule: gpus(profile, rule, needed.get(rule, 0))[0] for rule in rules}
    return {
        rule: Wanted(asked[rule], given[rule], nodes if rule == "train_target" else 1)
        for rule in rules
        if rule in asked
    }


def jobs_at_once(profile: Mapping[str, Any]) -> int:
    """Jobs that a profile submits at once; more than any run has where it sets no limit."""
    jobs = str(profile.get("jobs", 32))
    return int(jobs) if jobs.isdigit() else 10**6


@dataclass(frozen=True)
class Probe:
    """A short job: the rule whose place in the profile it takes, and what it is to find out.

    It asks for so many nodes and GPUs on each, may wait so many seconds, runs this Python and
    leaves a file in a folder that all nodes must see.
    """

    rule: str
    gpus: int
    seconds: float
    python: str
    folder: Path
    nodes: int = 1


def slurm(
    profile: Mapping[str, Any], probe: Probe, jobs: Mapping[str, Wanted], too_large: TooLarge
) -> Iterator[Finding]:
    """Commands, controller, status query, account, partitions, and a short job on the nodes."""
    lacking = [command for command in COMMANDS if not shutil.which(command)]
    if lacking:
        fix = "run this where jobs are submitted; on a machine without scheduler, with --local"
        yield Finding("SLURM", f"no {', '.join(lacking)}", fix)
        return
    code, text = output("scontrol", "ping", seconds=20)
    if code or (re.search(r"\bDOWN\b", text) and not re.search(r"\bUP\b", text)):
        fix = "wait for it or ask the site; nothing else of SLURM can be checked without it"
        said = next((line for line in text.splitlines() if "DOWN" in line), last_line(text))
        yield Finding("SLURM", f"the controller does not answer ({said})", fix)
        return
    yield from _status(profile)
    if keys := unedited(profile):
        yield Finding("profile", f"still EDIT: {', '.join(keys)}", _choices())
        return
    yield from _accounts(profile)
    places = [*partitions.check(jobs, profile), *limits.check(jobs, profile)]
    yield from places
    yield from _slices(jobs, profile, too_large)
    if any(place.fix and not place.warning for place in places):
        return
    if probe.gpus == 0 and probe.nodes == 1:
        yield Finding("GPU job", "the configuration asks for no GPU")
        return
    kind = gpus(profile, probe.rule)[1]
    alike = [rule for rule in jobs if gpus(profile, rule)[1] == kind]
    yield from _probe(probe_job(profile, probe), probe, lambda gb: too_large(gb, alike))


def _slices(
    jobs: Mapping[str, Wanted], profile: Mapping[str, Any], too_large: TooLarge
) -> Iterator[Finding]:
    """Rules that the profile sends to slices of MIG, whose names tell their memory."""
    for rule, one in jobs.items():
        kind = gpus(profile, rule)[1]
        if one.gpus and kind and (memory := partitions.SLICE.search(kind)):
            for finding in gpu_memory(too_large(float(memory[1]), [rule])):
                yield replace(finding, fix=f"name a larger kind as gpu_model of {rule}")


def _choices() -> str:
    """What may stand in the place of EDIT."""
    known, _ = partitions.read_partitions()
    accounts = _own_accounts() or ["see `sacctmgr show user $USER withassoc`"]
    return f"accounts: {', '.join(accounts)}; partitions: {', '.join(known)}"


def _status(profile: Mapping[str, Any]) -> Iterator[Finding]:
    query = profile.get("slurm-status-command", "sacct")
    code, text = output(query, "--noheader")
    fix = (
        "" if code == 0 else "without accounting set `slurm-status-command: squeue` in the profile"
    )
    found = f"{query} answers" if code == 0 else f"{query}: {last_line(text)}"
    yield Finding("status query", found, fix)


def _own_accounts() -> list[str]:
    mine = ("where", f"user={getpass.getuser()}", "format=account")
    code, text = output("sacctmgr", "-nP", "show", "assoc", *mine)
    return sorted(set(text.split())) if code == 0 else []


def _accounts(profile: Mapping[str, Any]) -> Iterator[Finding]:
    """Every account that the profile names is the user's own."""
    if profile.get("slurm-no-account"):
        return
    groups = [section(profile, "default-resources"), *section(profile, "set-resources").values()]
    values = [plain(group["slurm_account"]) for group in groups if "slurm_account" in group]
    accounts = sorted(set(chain.from_iterable(re.split(r"[,\s]+", value) for value in values)))
    yours = _own_accounts() if accounts else []
    for account in accounts:
        known = account in yours
        fix = "" if known else "name one of yours as slurm_account, or slurm-no-account: true"
        listing = f"yours are {', '.join(yours) or 'none'}"
        yield Finding("account", f"{account}: {'yours' if known else listing}", fix)


def probe_job(profile: Mapping[str, Any], probe: Probe) -> list[str]:
    """The srun command line of a job as the profile would submit it."""
    values = resources(profile, probe.rule)
    if profile.get("slurm-no-account"):
        values.pop("slurm_account", None)
    given = {key: plain(value) for key, value in values.items()}
    count, kind = gpus(profile, probe.rule, probe.gpus)
    asked = f"{kind}:{count}" if kind else str(count)
    words = ["srun", f"--nodes={probe.nodes}", f"--ntasks={probe.nodes}"]
    if probe.nodes > 1:
        words.append("--ntasks-per-node=1")
    if count:
        by_node = probe.nodes > 1 or "gres" in given
        words.append(f"--gres=gpu:{asked}" if by_node else f"--gpus={asked}")
    options = {"slurm_account": "account", "slurm_partition": "partition"}
    for key, option in (options | {"constraint": "constraint", "qos": "qos"}).items():
        words += [f"--{option}={given[key]}"] if key in given else []
    for key in ("qos", "reservation"):
        words += [f"--{key}={profile[f'slurm-{key}']}"] if f"slurm-{key}" in profile else []
    extra = shlex.split(str(values.get("slurm_extra", "")))
    extra = shlex.split(extra[0]) if len(extra) == 1 else extra  # a text within quotes of its own
    return [*words, *extra, "--mem=4000", "--time=5"]


def program(probe: Probe, mark: Path) -> list[str]:
    """The command that a node runs."""
    torch = ["torch"] if probe.gpus else []
    return [probe.python, str(PROBE), str(mark), str(probe.nodes), *torch]


def _probe(
    words: Sequence[str], probe: Probe, too_large: Callable[[float], Sequence[str]]
) -> Iterator[Finding]:
    mark = probe.folder / f".doctor-job-{os.getpid()}"
    code, text = output(*words, *program(probe, mark), seconds=probe.seconds)
    command = " ".join(words)
    seen = SEEN.findall(text) if code == 0 else []
    if not seen:
        fix = "try that line by hand; if only the queue is long, scripts/doctor.py --wait SECONDS"
        yield Finding("GPU job" if probe.gpus else "job", f"`{command}`: {last_line(text)}", fix)
        return
    if any(word.startswith(("--gpus=", "--gres=")) for word in words):
        visible = min(0 if n[1] == "none" else len(n[1].split(",")) for n in seen)
        fix = "" if visible == probe.gpus else "the partition gives no GPUs this way; ask the site"
        yield Finding("GPU job", f"needs {probe.gpus}, sees {visible} (`{command}`)", fix)
    if probe.gpus:
        yield cuda(probe.gpus, min(int(n[2]) for n in seen), all(n[3] == "True" for n in seen))
        yield from gpu_memory(too_large(min(float(n[4]) for n in seen)))
    if probe.nodes > 1:
        yield _peers(seen, probe.nodes)
    yield _seen(mark)


def gpu_memory(too_large: Sequence[str]) -> Iterator[Finding]:
    """The jobs that need more memory than GPUs have."""
    for line in too_large:
        name, _, rest = line.partition(": ")
        found, _, fix = rest.partition("; ")
        yield Finding(name, found, fix)


def _peers(seen: Sequence[tuple[str, ...]], nodes: int) -> Finding:
    """Whether a training on several nodes would meet."""
    met = sum(node[5] == "reached" for node in seen)
    names = ", ".join(sorted(node[0] for node in seen))
    fix = (
        ""
        if met == nodes
        else "nodes must reach each other by host name at the ports 20000 to 29999; ask the site"
    )
    return Finding("nodes", f"{met} of {nodes} met ({names})", fix)


def cuda(wanted: int, found: int, bf16: bool) -> Finding:
    """Whether torch can use the GPUs."""
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
