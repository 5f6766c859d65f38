"""Snakemake's two checks of grouped jobs, in time that grows with the jobs, not their square.

Both ask whether a path leaves a group and enters it again. Snakemake 9.27 searches all ancestors
once for each pair of jobs in a group, which for six sources of 256 shards takes many minutes. Here
each group is searched once; what is found is left to Snakemake's own check, which words the error.
"""

from typing import Any

import snakemake.api  # noqa: F401 (snakemake.dag cannot be imported first)
from snakemake.dag import DAG

_validate_group, _check_groups = DAG.validate_group, DAG._check_groups


def install() -> None:
    """Let Snakemake search each group once."""
    DAG.validate_group = _validate
    DAG._check_groups = _check


def returns(dag: Any, group: Any) -> bool:
    """Whether a job of the group needs, by way of jobs outside, another of its jobs."""
    inside = set(group.jobs)
    dependencies = dag._dependencies
    waiting = [one for job in inside for one in dependencies[job] if one not in inside]
    seen = set(waiting)
    while waiting:
        for one in dependencies[waiting.pop()]:
            if one in inside:
                return True
            if one not in seen:
                seen.add(one)
                waiting.append(one)
    return False


def _validate(dag: Any, group: Any) -> None:
    if len(group.jobs) > 1 and returns(dag, group):
        _validate_group(dag, group)


def _check(dag: Any) -> None:
    if any(returns(dag, group) for group in set(dag._group.values())):
        _check_groups(dag)
