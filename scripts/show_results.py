"""Print the claims and Table 1 of a finished run and where its files are."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.errors import UserError
from fusionchat.files import read_text
from fusionchat.tables.table import first_section

SHOWN = (
    ("report", "report.html"),
    ("tables", "tables/table1.md, .csv, .tex, .html and table2 beside it"),
    ("figures", "figures/*.svg and *.png"),
    ("answers, judgments", "mt_bench/"),
    ("merged models", "merged/, with weights.csv of VaRM in each"),
)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    return parser


def summary(run: Path) -> str:
    """The claims' verdicts and Table 1 as text, then a line for each kind of file."""
    table = run / "tables" / "table1.md"
    if not table.exists():
        raise UserError(f"{table} does not exist; make it with `snakemake table1`")
    width = max(len(kind) for kind, _ in SHOWN)
    places = [f"{kind:<{width}}  {run / where}" for kind, where in SHOWN]
    tables = [path for path in (run / "tables" / "claims.md", table) if path.exists()]
    shown = [first_section(read_text(path)) for path in tables]
    return "\n\n".join([*shown, "\n".join(places)])


def main(argv: Sequence[str] | None = None) -> None:
    """Print the summary."""
    args = build_parser().parse_args(argv)
    print(summary(args.run))


if __name__ == "__main__":
    cli.run(main)
