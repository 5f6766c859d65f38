"""Check the place of a run before it starts: scheduler, GPUs, disk, hub, judges, versions."""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fusionchat import cli

PROFILES = ("profile.yaml", "config.yaml")  # in a folder that --profile names


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    cli.add_config_options(parser)
    add("--throughputs", type=cli.existing_path, help="laid over resources/throughputs.yaml")
    add("--profile", type=cli.existing_path, action="append", help="SLURM profile, later ones win")
    add("--local", action="store_true", help="no scheduler: look at this machine instead")
    add("--wait", type=cli.positive_int, default=600, help="seconds for the short job to start")
    add("--results", type=Path, default=Path("results"), help="folder that the run will fill")
    add("--output", type=Path, help="file for the report as well")
    return parser


def read_profile(given: Sequence[Path] | None) -> dict[str, Any]:
    """The keys of all profiles, those of later ones in the place of earlier ones'."""
    from fusionchat.readers.yaml import read_yaml

    profile: dict[str, Any] = {}
    for path in given or [cli.ROOT / "slurm"]:
        files = [path / name for name in PROFILES if (path / name).is_file()]
        profile |= read_yaml(files[0] if files else path)
    return profile


def main(argv: Sequence[str] | None = None) -> None:
    """Check everything, print the findings, end with 1 where something is to be fixed."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.cluster import fitting
    from fusionchat.cluster.costs import rates
    from fusionchat.cluster.doctor import checks, local, old_checkpoints, slurm
    from fusionchat.cluster.plan import Plan
    from fusionchat.cluster.plan_report import Place, needed_gb
    from fusionchat.config import read_config
    from fusionchat.errors import UserError
    from fusionchat.experiment import Experiment

    config = read_config(args.configfile, args.config)
    profile = read_profile(args.profile)
    experiment = Experiment(config)
    known = rates.read_rates(args.throughputs)
    rates.choose_machine(known, config["device"], None)
    plan = Plan(experiment, known)
    rows = plan.rows()
    rules = [row.rule for row in rows]
    rule, gpus = slurm.largest_job(experiment, rules)
    scheduled = not args.local and (args.profile or config["device"] == "cuda")
    cores = os.cpu_count() or 1
    place = Place(10**6, slurm.jobs_at_once(profile)) if scheduled else Place(gpus or 1, cores)
    nodes = config["training"]["nodes"] if rule == "train_target" and scheduled else 1
    probe = slurm.Probe(rule, gpus, args.wait, sys.executable, args.results, nodes)
    wanted = [
        partial(checks.versions, cli.ROOT / "pyproject.toml"),
        partial(checks.file_system, args.results),
        partial(checks.disk, args.results, needed_gb(rows, place)),
        partial(old_checkpoints.old_checkpoints, experiment, args.results),
        partial(checks.hub, checks.from_hub(experiment, args.results)),
        partial(checks.web, checks.from_web(experiment, args.results)),
        partial(checks.endpoints, checks.all_endpoints(config)),
    ]
    if scheduled:
        jobs = slurm.wanted(experiment, rules, cli.ROOT / "rules", profile)
        wanted.append(partial(slurm.slurm, profile, probe, jobs, partial(fitting.too_large, plan)))
    elif gpus:
        wanted.append(partial(local.gpus, probe, partial(fitting.too_large, plan)))
    else:
        wanted.append(partial(local.memory, rows, place))
    findings = checks.gather(*wanted)
    text = checks.report(findings)
    print(text, flush=True)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(f"{text}\n", encoding="utf-8")
    if failed := [item.check for item in findings if item.fix and not item.warning]:
        raise UserError(f"not ready: {', '.join(failed)}")


if __name__ == "__main__":
    cli.run(main)
