"""Say what a run costs before it starts: jobs, GPU-hours, disk, memory, judge calls, by rule."""

import argparse
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    cli.add_config_options(parser)
    add("--throughputs", type=cli.existing_path, help="laid over resources/throughputs.yaml")
    add("--machine", help="whose rates to take, from its `machines`; guesses")
    add("--calibrate", action="store_true", help="first measure this machine's rates, in a minute")
    add("--gpus", type=cli.positive_int, default=8, help="GPUs to have at once")
    add("--gpu-memory", type=cli.positive_number, help="GB of each; says what does not fit")
    add(
        "--slots",
        type=cli.positive_int,
        help="threads of jobs without GPU; 32, or this machine's cores",
    )
    add("--disk", type=cli.existing_path, default=Path(), help="folder that the run will fill")
    add("--output", type=cli.prefix, help="prefix of .csv, .md, .svg and .png; nothing by default")
    add("--check", action="store_true", help="exit with 1 where something does not suffice")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Estimate, print, compare with what is there, write."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.cluster import fitting, plan_report
    from fusionchat.cluster.costs import calibrate, rates
    from fusionchat.cluster.plan import Plan
    from fusionchat.config import read_config
    from fusionchat.errors import UserError
    from fusionchat.experiment import Experiment
    from fusionchat.tables.table import markdown, write_csv

    config = read_config(args.configfile, args.config)
    device = config["device"]
    known = rates.read_rates(args.throughputs)
    if args.calibrate:
        plan = Plan(Experiment(config), known)
        calibrate.calibrate(plan.pivot, device, args.threads, calibrate.SECONDS, rates.CALIBRATION)
    said = rates.choose_machine(known, device, args.machine)
    plan = Plan(Experiment(config), known)
    rows = plan.rows()
    slots = args.slots or (32 if plan.on_gpus else os.cpu_count() or 1)
    place = plan_report.Place(args.gpus, slots)
    notes = [*plan_report.notes(plan), *said]
    text = markdown(plan_report.table(rows, place, config["name"], notes))
    lacking = plan_report.shortfalls(plan, place, shutil.disk_usage(args.disk).free / 1e9)
    if room := args.gpu_memory or plan.device["memory"]:
        lacking += fitting.too_large(plan, room)
    if args.output:
        from fusionchat.figures import style

        args.output.parent.mkdir(parents=True, exist_ok=True)
        write_csv(Path(f"{args.output}.csv"), plan_report.records(rows, place))
        Path(f"{args.output}.md").write_text(f"{text}\n", encoding="utf-8")
        style.save(plan_report.figure(rows), args.output, "Planned hours of each rule.")
    print(text, *(f"NOT ENOUGH {line}" for line in lacking), sep="\n", flush=True)
    if lacking and args.check:
        raise UserError("; ".join(lacking))


if __name__ == "__main__":
    cli.run(main)
