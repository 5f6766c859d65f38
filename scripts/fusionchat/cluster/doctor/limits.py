"""Whether the limits of accounts and QoS, beside those of partitions, allow what jobs ask for.

A job beyond one of them need not be refused: SLURM may let it wait for ever.
"""

import getpass
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from fusionchat.cluster.doctor.checks import Finding, output
from fusionchat.cluster.doctor.partitions import Facts, Wanted, clock_minutes, lines
from fusionchat.cluster.doctor.requests import gpus, plain, resources

# Limits of one job, of a user's jobs together and of everybody's, which no single one may exceed.
COLUMNS = ("MaxWall", "MaxTRESPerNode", "MaxTRES", "GrpTRES")
OF_QOS = ("Name", *COLUMNS, "MaxTRESPU")
OF_ACCOUNT = ("Account", "DefaultQOS", *COLUMNS)
_MEGABYTES = {"": 1, "M": 1, "G": 1024, "T": 1024**2}
_AMOUNT = re.compile(r"([\w/:.-]+)=(\d+(?:\.\d+)?)([MGT]?)")


@dataclass(frozen=True)
class Limit:
    """The most of each resource that one job may ask for, in all and on each node."""

    minutes: float
    whole: Mapping[str, float]
    a_node: Mapping[str, float]


def check(wanted: Mapping[str, Wanted], profile: Mapping[str, Any]) -> Iterator[Finding]:
    """A finding for each QoS or account that allows less than the first attempt asks for."""
    accounts = _table("assoc", ("where", f"user={getpass.getuser()}"), OF_ACCOUNT)
    qos = _table("qos", (), OF_QOS)
    rules: dict[str, dict[str, Wanted]] = defaultdict(dict)
    limits: dict[str, Limit] = {}
    for rule, asked in wanted.items():
        given = resources(profile, rule)
        account = accounts.get(plain(given.get("slurm_account", "")), {})
        name = plain(given.get("qos", profile.get("slurm-qos", account.get("DefaultQOS", ""))))
        if name and qos and name not in qos:
            yield Finding("QoS", f"{name}: unknown", f"name one of {', '.join(qos)}")
        for place, row in ((f"QoS {name}", qos.get(name)), ("account", account)):
            if row:
                place = f"account {row['Account']}" if place == "account" else place
                limits[place] = _limit(row)
                rules[place][rule] = asked
    for place, jobs in rules.items():
        beyond = partial(_beyond, jobs, limits[place], profile)
        yield from (Finding("limits", text, fix) for text, fix in lines(place, "", jobs, beyond))


def _table(
    kind: str, which: tuple[str, ...], columns: tuple[str, ...]
) -> dict[str, dict[str, str]]:
    """Rows of the accounting by their first column; none where there is no accounting."""
    command = ("sacctmgr", "-nP", "show", kind, *which, f"format={','.join(columns)}")
    code, text = output(*command)
    rows = (line.split("|") for line in text.splitlines() if code == 0)
    return {
        row[0]: dict(zip(columns, row, strict=True)) for row in rows if len(row) == len(columns)
    }


def _limit(row: Mapping[str, str]) -> Limit:
    whole: dict[str, float] = {}
    for column in ("MaxTRES", "GrpTRES", "MaxTRESPU"):
        for name, amount in _amounts(row.get(column, "")).items():
            whole[name] = min(amount, whole.get(name, math.inf))
    return Limit(clock_minutes(row["MaxWall"]), whole, _amounts(row["MaxTRESPerNode"]))


def _amounts(text: str) -> dict[str, float]:
    """`gres/gpu=4,mem=100G` as numbers, memory in MB."""
    found = _AMOUNT.findall(text)
    return {name: float(number) * _MEGABYTES[unit] for name, number, unit in found}


def _beyond(
    wanted: Mapping[str, Wanted], limit: Limit, profile: Mapping[str, Any], rule: str
) -> Iterator[Facts]:
    """What a rule's jobs ask beyond a limit; one of a kind of GPU counts for jobs that name it."""
    request, nodes, count = wanted[rule].request, wanted[rule].nodes, wanted[rule].gpus
    kind = gpus(profile, rule)[1]
    if request.minutes > limit.minutes:
        yield "runtime", request.minutes, limit.minutes
    if request.megabytes > (most := _most(limit, "mem", nodes)):
        yield "mem_mb", request.megabytes, most
    if count > (most := _most(limit, "gres/gpu", nodes)):
        yield "GPUs a node", count, most
    if kind and count > (most := _most(limit, f"gres/gpu:{kind}", nodes)):
        yield f"{kind} GPUs a node", count, most
    if nodes > (most := limit.whole.get("node", math.inf)):
        yield "nodes", nodes, most


def _most(limit: Limit, name: str, nodes: int) -> float:
    """What a job on so many nodes may ask for on each."""
    return min(limit.a_node.get(name, math.inf), limit.whole.get(name, math.inf) // nodes)
