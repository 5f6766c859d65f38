"""Copy a finished run's claims, Table 1 and figures into the README, with commit and date."""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from fusionchat import cli
from fusionchat.errors import UserError
from fusionchat.files import atomic_file
from fusionchat.page.page import description
from fusionchat.page.run_facts import made_by
from fusionchat.tables.table import first_section

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
TABLES = ("claims", "table1")
FIGURES = ("claims", "scores")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of the finished run")
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    return parser


def replaced(text: str, block: str) -> str:
    """The README's text with `block` between its two markers."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise UserError(f"README.md: the markers {BEGIN} and {END} must each stand there once")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{block.strip()}\n{END}{rest.split(END)[1]}"


def results_block(run: Path, images: Path, commit: str, date: str) -> str:
    """Claims, Table 1, the figures and where they come from, as Markdown."""
    claims, table = (
        first_section((run / "tables" / f"{name}.md").read_text(encoding="utf-8"))
        for name in TABLES
    )
    first, second = (
        f"![{description(run / 'figures' / f'{name}.svg')}]({images.as_posix()}/{name}.png)"
        for name in FIGURES
    )
    origin = f"*Made by `make demo` at commit {commit} on {date}.*"
    return "\n\n".join([claims, first, table, second, origin])


def main(argv: Sequence[str] | None = None) -> None:
    """Write the README and the images."""
    args = build_parser().parse_args(argv)
    wanted = [
        args.run / "figures" / f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")
    ]
    wanted += [args.run / "tables" / f"{name}.md" for name in TABLES]
    if not all(path.exists() for path in wanted):
        raise UserError(f"{args.run} holds no finished demo; run `make demo` first")
    args.images.mkdir(parents=True, exist_ok=True)
    block = results_block(args.run, args.images, *made_by(args.run / "report.html"))
    for name in FIGURES:
        shutil.copyfile(args.run / "figures" / f"{name}.png", args.images / f"{name}.png")
    text = replaced(args.readme.read_text(encoding="utf-8"), block)
    with atomic_file(args.readme) as partial:
        partial.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)
