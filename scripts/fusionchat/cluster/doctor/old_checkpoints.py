"""Checkpoints that no training will go on from, and the command that removes them."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from fusionchat.cluster.doctor.checks import Finding
from fusionchat.experiment import Experiment


def old_checkpoints(experiment: Experiment, results: Path) -> Iterator[Finding]:
    """A target's settings name the folder of its checkpoints, so changed settings leave another.

    Of a target that is not finished, the folder that was written last counts as the current one.
    """
    folder = results / experiment.config["name"] / "checkpoints"
    old = [run for target in sorted(_folders(folder)) for run in _old(experiment, results, target)]
    if not old:
        return
    size = sum(file.stat().st_size for run in old for file in run.rglob("*") if file.is_file())
    names = " ".join(shlex.quote(str(run)) for run in old)
    found = f"{size / 1e9:,.1f} GB of trainings that are finished or had other settings"
    yield Finding("old checkpoints", found, f"rm -r {names}", warning=True)


def _old(experiment: Experiment, results: Path, target: Path) -> list[Path]:
    runs = sorted(_folders(target), key=lambda run: run.stat().st_mtime)
    if target.name not in experiment.targets:
        return runs
    manifest = results / Path(experiment.manifest(target.name)).relative_to("results")
    return runs if manifest.is_file() else runs[:-1]


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*") if path.is_dir()]
