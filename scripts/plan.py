"""Say what a run costs before it starts: jobs, GPU-hours, disk, memory, judge calls, by rule."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    cli.add_config_options(parser)
    add("--throughputs", type=cli.existing_path, default=cli.ROOT / "resources/throughputs.yaml")
    add("--gpus", type=cli.positive_int, default=8, help="GPUs to have at once")
    add("--slots", type=cli.positive_int, default=32, help="jobs without GPU at once")
    add("--disk", type=cli.existing_path, default=Path(), help="folder that the run will fill")
    add("--output", type=Path, help="prefix of .csv, .md, .svg and .png; nothing by default")
    add("--check", action="store_true", help="exit with 1 where disk or budget do not suffice")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Reckon, print, compare with what is there, write."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.cluster import plan_report
    from fusionchat.cluster.plan import Plan
    from fusionchat.config import read_config
    from fusionchat.errors import UserError
    from fusionchat.experiment import Experiment
    from fusionchat.readers.yaml import read_yaml
    from fusionchat.tables.table import markdown, write_csv

    config = read_config(args.configfile, args.config)
    rows = Plan(Experiment(config), read_yaml(args.throughputs)).rows()
    place = plan_report.Place(args.gpus, args.slots)
    text = markdown(plan_report.table(rows, place, config["name"]))
    free = shutil.disk_usage(args.disk).free / 1e9
    budgets = [j["budget"] for j in config["mt_bench"]["judges"].values() if "budget" in j]
    lacking = plan_report.shortfalls(rows, place, free, budgets)
    print(text, *(f"NOT ENOUGH {line}" for line in lacking), sep="\n")
    if args.output:
        from fusionchat.figures import style

        args.output.parent.mkdir(parents=True, exist_ok=True)
        write_csv(Path(f"{args.output}.csv"), plan_report.records(rows, place))
        Path(f"{args.output}.md").write_text(f"{text}\n", encoding="utf-8")
        style.save(plan_report.figure(rows), args.output, "Planned hours of each rule.")
    if lacking and args.check:
        raise UserError("; ".join(lacking))
    sys.stdout.flush()


if __name__ == "__main__":
    cli.run(main)
