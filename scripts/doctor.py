"""Check the place of a run before it starts: scheduler, GPUs, disk, hub, judges, versions."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fusionchat import cli


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    cli.add_config_options(parser)
    add("--throughputs", type=cli.existing_path, default=cli.ROOT / "resources/throughputs.yaml")
    add("--profile", type=cli.existing_path, action="append", help="SLURM profile, later ones win")
    add("--local", action="store_true", help="no scheduler: look at this machine's GPUs instead")
    add("--wait", type=cli.positive_int, default=600, help="seconds for the short GPU job to start")
    add("--results", type=Path, default=Path("results"), help="folder that the run will fill")
    add("--output", type=Path, help="file for the report as well")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Check everything, print the findings, end with 1 where something is to be fixed."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.cluster import doctor, doctor_slurm
    from fusionchat.cluster.plan import Plan
    from fusionchat.cluster.work import total
    from fusionchat.config import read_config
    from fusionchat.errors import UserError
    from fusionchat.experiment import Experiment
    from fusionchat.readers.yaml import read_yaml

    config = read_config(args.configfile, args.config)
    profile = {}
    for path in args.profile or [cli.ROOT / "slurm" / "profile.yaml"]:
        profile |= read_yaml(path)
    experiment = Experiment(config)
    need = total(Plan(experiment, read_yaml(args.throughputs)).rows())
    rule, gpus = doctor_slurm.largest_job(experiment)
    checks = [
        partial(doctor.versions, cli.ROOT / "pyproject.toml"),
        partial(doctor.file_system, args.results),
        partial(doctor.disk, args.results, need.kept_gb + need.temporary_gb),
        partial(doctor.hub, doctor.from_hub(experiment, args.results)),
        partial(doctor.judges, config["mt_bench"]["judges"]),
    ]
    if args.local:
        checks.append(partial(doctor_slurm.local, gpus, sys.executable, args.results))
    elif args.profile or config["device"] == "cuda":
        probe = doctor_slurm.Probe(rule, gpus, args.wait, sys.executable, args.results)
        checks.append(partial(doctor_slurm.slurm, profile, probe))
    findings = doctor.gather(*checks)
    text = doctor.report(findings)
    print(text, flush=True)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(f"{text}\n", encoding="utf-8")
    if failed := [item.check for item in findings if item.fix]:
        raise UserError(f"not ready: {', '.join(failed)}")


if __name__ == "__main__":
    cli.run(main)
