"""Check the place of a run before it starts: scheduler, GPUs, disk, hub, judges, versions."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fusionchat import cli

ROOT = Path(__file__).resolve().parents[1]


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("--configfile", type=cli.existing_path, default=ROOT / "config.yaml", help="of the run")
    add("--schema", type=cli.existing_path, default=ROOT / "schemas/config.schema.yaml")
    add("--throughputs", type=cli.existing_path, default=ROOT / "resources/throughputs.yaml")
    add("--profile", type=cli.existing_path, action="append", help="SLURM profile, later ones win")
    add("--results", type=Path, default=Path("results"), help="folder that the run will fill")
    add("--output", type=Path, help="file for the report as well")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Check everything, print the findings, end with 1 where something is to be fixed."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    import yaml

    from fusionchat.cluster import doctor, plan_report
    from fusionchat.cluster.plan import Plan
    from fusionchat.config import checked
    from fusionchat.errors import UserError

    config = checked(yaml.safe_load(args.configfile.read_text()), args.schema)
    profile = {}
    for path in args.profile or [ROOT / "slurm" / "profile.yaml"]:
        profile |= yaml.safe_load(path.read_text())
    need = plan_report.total(Plan(config, yaml.safe_load(args.throughputs.read_text())).rows())
    fetched = config["models"] | config["comparisons"]
    repos = {name: model["repo"] for name, model in fetched.items() if "repo" in model}
    gpus = config["training"]["gpu"] // config["training"]["nodes"]
    checks = [
        partial(doctor.versions, ROOT / "pyproject.toml"),
        partial(doctor.file_system, args.results),
        partial(doctor.disk, args.results, need.kept_gb + need.temporary_gb),
        partial(doctor.hub, repos, args.results / config["name"] / "models"),
        partial(doctor.judges, config["mt_bench"]["judges"]),
    ]
    if args.profile or config["device"] == "cuda":
        checks.append(partial(doctor.slurm, profile, gpus, sys.executable))
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
