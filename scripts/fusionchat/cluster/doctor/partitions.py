"""Whether a cluster's partitions allow what the jobs of a run ask for, at first and at last."""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fusionchat.cluster.doctor.checks import Finding, output
from fusionchat.cluster.doctor.requests import Request, gpus, plain, resources

DOWN = ("down", "drain", "fail", "error", "inval", "unk")  # how states of useless nodes begin
_CLOCK = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")
_GPUS = re.compile(r"gpu(?::([^:,(]+))?:(\d+)")
SLICE = re.compile(r"\dg\.(\d+)gb")  # in the names of MIG's slices: their memory


@dataclass(frozen=True)
class Node:
    """A node that takes jobs: MB of memory, and GPUs by their kind."""

    megabytes: float
    gpus: Mapping[str, int]

    def count(self, kind: str | None, together: int) -> int:
        """GPUs of a kind, or all, for a job of so many; only one slice of MIG works in a job."""
        return sum(
            min(n, 1) if together > 1 and SLICE.search(name) else n
            for name, n in self.gpus.items()
            if kind in (None, name)
        )


@dataclass
class Partition:
    """What a partition allows; nodes that are down do not count."""

    minutes: float = math.inf
    most_nodes: float = math.inf
    most_megabytes: float = math.inf
    nodes: list[Node] = field(default_factory=list)

    @property
    def kinds(self) -> dict[str, int]:
        """The kinds of GPUs that have a name: the most of each on a node."""
        names = sorted({name for node in self.nodes for name in node.gpus if name})
        return {name: max(node.gpus.get(name, 0) for node in self.nodes) for name in names}


@dataclass(frozen=True)
class Wanted:
    """What a rule's jobs ask for: GPUs are those of a node."""

    request: Request
    gpus: int = 0
    nodes: int = 1


def read_partitions() -> tuple[dict[str, Partition], str]:
    """All partitions by name, and the name of the default one."""
    found: dict[str, Partition] = defaultdict(Partition)
    default = ""
    for line in output("sinfo", "--Node", "--noheader", "--format=%P|%l|%m|%G|%T")[1].splitlines():
        name, *facts = line.strip().split("|")
        default = name.rstrip("*") if name.endswith("*") else default
        partition = found[name.rstrip("*")]
        if len(facts) != 4:
            continue
        limit, megabytes, gres, state = facts
        partition.minutes = clock_minutes(limit)
        if not state.lower().startswith(DOWN):
            kinds: dict[str, int] = defaultdict(int)
            for kind, number in _GPUS.findall(gres):
                kinds[kind] += int(number)
            partition.nodes.append(Node(_limit(megabytes.rstrip("+")), kinds))
    for line in output("scontrol", "show", "partition", "--oneliner")[1].splitlines():
        shown = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if shown.get("PartitionName") in found:
            partition = found[shown["PartitionName"]]
            partition.most_nodes = _limit(shown.get("MaxNodes", ""))
            partition.most_megabytes = _limit(shown.get("MaxMemPerNode", ""))
    return dict(found), default


def clock_minutes(text: str) -> float:
    """A time limit: MM:SS, HH:MM:SS or D-HH:MM:SS; infinite where it says no such thing."""
    match = _CLOCK.fullmatch(text)
    if not match:
        return math.inf
    days, hours, minutes = (int(part or 0) for part in match.groups()[:3])
    return 1440 * days + 60 * hours + minutes


def _limit(text: str) -> float:
    return float(text) if text.isdigit() and int(text) else math.inf


def named(profile: Mapping[str, Any], rule: str, default: str) -> list[str]:
    """The partitions that a rule's jobs may run in."""
    value = resources(profile, rule).get("slurm_partition", default)
    return re.split(r"[,\s]+", plain(value))


Facts = tuple[str, float, float]  # the resource, what is asked for, what is allowed


def _beyond(wanted: Wanted, partition: Partition, kind: str | None) -> Iterator[Facts]:
    """What the first attempt asks beyond a partition's limits."""
    request, count = wanted.request, wanted.gpus
    useful = [node for node in partition.nodes if node.count(kind, count) >= count]
    most = max((node.count(kind, count) for node in partition.nodes), default=0)
    if count > most:
        yield f"{kind} GPUs a node".removeprefix("None "), count, most
        useful = partition.nodes
    allowed = min(partition.most_nodes, len(useful))
    if wanted.nodes > allowed:
        yield "nodes", wanted.nodes, allowed
    yield from _time_and_memory(request.minutes, request.megabytes, partition, useful)


def _time_and_memory(
    minutes: int, megabytes: int, partition: Partition, nodes: Collection[Node]
) -> Iterator[Facts]:
    room = min(partition.most_megabytes, max((node.megabytes for node in nodes), default=math.inf))
    if minutes > partition.minutes:
        yield "runtime", minutes, partition.minutes
    if megabytes > room:
        yield "mem_mb", megabytes, room


def check(wanted: Mapping[str, Wanted], profile: Mapping[str, Any]) -> Iterator[Finding]:
    """A finding for each partition that is not there, has no node, or allows less than is asked.

    Of several that are named for a rule one must suffice, where SLURM then starts its jobs.
    """
    known, default = read_partitions()
    rules: dict[str, list[str]] = defaultdict(list)
    for rule, asked in wanted.items():
        names = named(profile, rule, default)
        kind = gpus(profile, rule)[1]
        fitting = [n for n in names if n in known and not any(_beyond(asked, known[n], kind))]
        for name in fitting or names:
            rules[name].append(rule)
        for name in set(names) - known.keys() - rules.keys():
            rules[name] = []
    for name, jobs in rules.items():
        if name not in known:
            fix = f"name one of {', '.join(known) or 'those of `sinfo`'}"
            yield Finding(
                "partition", f"{name or 'none is named and none is the default'}: unknown", fix
            )
        elif not known[name].nodes:
            yield Finding("partition", f"{name}: no node is up", "wait, or name another partition")
        else:
            yield from _judged(name, known[name], {rule: wanted[rule] for rule in jobs}, profile)


def _judged(
    name: str, partition: Partition, wanted: Mapping[str, Wanted], profile: Mapping[str, Any]
) -> Iterator[Finding]:
    def last(rule: str) -> Iterator[Facts]:
        request = wanted[rule].request
        found = _time_and_memory(
            request.most_minutes, request.most_megabytes, partition, partition.nodes
        )
        now = {resource for resource, _, _ in first(rule)}
        return (facts for facts in found if facts[0] not in now)

    def first(rule: str) -> Iterator[Facts]:
        return _beyond(wanted[rule], partition, gpus(profile, rule)[1])

    kinds = ", ".join(f"{kind} ({count} a node)" for kind, count in partition.kinds.items())
    failures = list(lines(name, "", wanted, first, f"; there: {kinds}" if kinds else ""))
    warnings = list(lines(name, "the last attempt of ", wanted, last))
    yield from (Finding("partition", text, fix) for text, fix in failures)
    yield from (Finding("partition", text, fix, warning=True) for text, fix in warnings)
    any_kind = [rule for rule, one in wanted.items() if one.gpus and not gpus(profile, rule)[1]]
    if len(partition.kinds) > 1 and any_kind:
        text = f"{name}: {', '.join(any_kind)} may be given GPUs of any kind: {kinds}"
        fix = "name one as gpu_model beside the partition of these rules in the profile"
        yield Finding("partition", text, fix, warning=True)
    if not failures:
        yield Finding("partition", f"{name}: allows {len(wanted)} rules' jobs")


def lines(
    name: str,
    which: str,
    wanted: Mapping[str, Wanted],
    beyond: Callable[[str], Iterator[Facts]],
    kinds: str = "",
) -> Iterator[tuple[str, str]]:
    """A line and its fix for each resource; rules that ask too much of it share them."""
    asked: dict[tuple[str, float], dict[str, float]] = defaultdict(dict)
    for rule in wanted:
        for resource, value, allowed in beyond(rule):
            asked[resource, allowed][rule] = value
    for (resource, allowed), rules in asked.items():
        listing = ", ".join(f"{rule} {value:,.0f}" for rule, value in rules.items())
        fix = "name another partition for them" + (
            f", or set fewer GPUs{kinds}" if "GPU" in resource else ""
        )
        if resource in ("runtime", "mem_mb"):
            setting = ", ".join(f"{rule}: {{{resource}: {allowed:.0f}}}" for rule in rules)
            fix = f"another partition, or in the profile set-resources: {{{setting}}}"
            if any(wanted[rule].request.together > 1 for rule in rules):
                fix = (
                    "another partition, or fewer jobs in a group (group-components of the profile)"
                )
        yield f"{name}: {resource} of {which}{listing}; at most {allowed:,.0f} is allowed", fix
