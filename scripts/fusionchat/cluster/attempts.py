"""Why a job's earlier attempts failed, and what the next one therefore asks for.

A job over its time limit needs time and no more memory; one that ran out of memory needs memory
and no more time; one whose program failed needs neither. Snakemake's resource functions learn only
the number of the attempt. So whoever hears the reason notes it here (`slurm_executor`), and the
job's own process, which evaluates the same functions, finds it in the environment.
"""

import os
from collections.abc import Iterable

TIME = "TIMEOUT"
MEMORY = "OUT_OF_MEMORY"
VARIABLE = "FUSIONCHAT_FAILURES"

Job = tuple[str, tuple[str, ...]]
_failures: dict[Job, list[str]] = {}


def note(rule: str, wildcards: Iterable[str], reason: str) -> None:
    """An attempt of this job ended for a reason, in SLURM's words."""
    _failures.setdefault((rule, tuple(wildcards)), []).append(reason)


def failures(rule: str, wildcards: Iterable[str]) -> list[str]:
    """The reasons of this job's failed attempts, as far as anybody heard them."""
    known = _failures.get((rule, tuple(wildcards)), [])
    return known or os.environ.get(VARIABLE, "").split()


def doublings(rule: str, wildcards: Iterable[str], attempt: int, reason: str) -> int:
    """How often the job's request for what `reason` lacked is to be doubled.

    Where nobody knows why attempts failed, each counts.
    """
    known = failures(rule, wildcards)
    return known.count(reason) if known else attempt - 1
