"""Jobs that a killed snakemake left at work in its folder."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from snakemake_interface_common.exceptions import WorkflowError

from fusionchat.cluster.slurm_answers import answer

RUNS = Path(".snakemake", "slurm_runs")  # a file for each snakemake that lives


def refuse_leftovers(folder: Path) -> None:
    """`WorkflowError` while jobs of a snakemake that was killed are at work in this folder."""
    form = "%i|%j|%k|%Z"  # number, name, comment, folder
    listed = answer("squeue", "--noheader", "--user", str(os.getuid()), "--format", form) or ""
    here, left = os.path.realpath(folder), []
    for number, name, comment, place in (line.split("|", 3) for line in listed.splitlines()):
        ours = comment.startswith("rule_") and os.path.realpath(place) == here
        if ours and not alive(folder / RUNS / name):
            left.append(number)
    if left:
        raise WorkflowError(
            f"jobs of a killed snakemake are still at work in {folder}: wait until `squeue` no "
            f"longer lists them, or `scancel {' '.join(left)}`; then start again"
        )


def sign_in(path: Path) -> TextIO:
    """A file that is locked as long as this snakemake lives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = path.open("w")
    with suppress(OSError):  # no locks here: see `alive`
        fcntl.flock(stream, fcntl.LOCK_EX)
    return stream


def alive(path: Path) -> bool:
    """Whether the snakemake that signed in there lives; where files cannot be locked, it may."""
    try:
        with path.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
