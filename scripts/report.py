"""Write report.html: one page with the claims, the run, tables, figures and dialogues."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fusionchat import cli
from fusionchat.scores.rows import add_metrics

if TYPE_CHECKING:
    from fusionchat.experiment import Experiment
    from fusionchat.page.contents import Compared

GENERATED = "Generated questions, scored like MT-Bench"
FILES = {
    "tables": ".html tables, in order; .csv lies beside each",
    "figures": ".svg figures, in order",
    "sweeps": ".html tables and .svg figures of sweeps, in order",
    "answers": "answer records of the models",
    "judgments": "judgment records of the models",
    "manifests": "manifest.json of models, targets, merges",
}
SINGLE = {
    "picture": ".svg figure of the first screen",
    "alignment": "csv of the alignment figure",
    "winners": "csv of the winners figure",
    "costs": "csv of the costs",
}


def build_parser() -> argparse.ArgumentParser:
    """The program's arguments."""
    parser = cli.parser(__doc__)
    cli.add_config_options(parser)
    parser.add_argument("--scores", type=cli.existing_path, required=True, help="scores.parquet")
    add_metrics(parser)
    for name, text in FILES.items():
        parser.add_argument(f"--{name}", type=cli.existing_path, nargs="*", default=[], help=text)
    for name, text in SINGLE.items():
        parser.add_argument(f"--{name}", type=cli.existing_path, default=None, help=text)
    parser.add_argument("--captions", type=cli.existing_path, required=True, help="folder of .rst")
    parser.add_argument("--questions", type=cli.existing_path, required=True, help="questions file")
    parser.add_argument(
        "--examples", type=cli.positive_int, default=3, help="example questions a category"
    )
    parser.add_argument("--output", type=Path, required=True, help="report.html")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page."""
    args = build_parser().parse_args(argv)
    cli.limit_threads(args.threads)
    from fusionchat.config import config_text, read_config
    from fusionchat.experiment import Experiment
    from fusionchat.files import atomic_file
    from fusionchat.page.contents import PageFiles, page_text

    config = read_config(args.configfile, args.config)
    compared = comparison(Experiment(config))
    files = cli.options_of(PageFiles, args)
    page = page_text(config, config_text(config), compared, files, args.examples)
    with atomic_file(args.output) as partial:
        partial.write_text(page, encoding="utf-8")


def comparison(experiment: "Experiment") -> "Compared":
    """What the page compares, as the config says."""
    from fusionchat.command_words import claims, rows
    from fusionchat.page.contents import Compared
    from fusionchat.scores.claims import claim_argument
    from fusionchat.scores.rows import row_argument

    return Compared(
        rows=[row_argument(text) for text in rows(experiment, experiment.rows)],
        baseline=experiment.baseline,
        subject=experiment.subject,
        shown=experiment.shown,
        claims=[claim_argument(text) for text in claims(experiment)],
        asked=GENERATED if experiment.generated else "MT-Bench",
        judge=experiment.judge,
        judge_model=experiment.judge_model,
    )


if __name__ == "__main__":
    cli.run(main)
