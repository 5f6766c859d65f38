"""MT-Bench, its judges, and the paper's numbers that rows are compared with."""

from collections.abc import Iterator
from os.path import isdir, isfile
from pathlib import Path

from fusionchat.alpaca_eval.data import FILES
from fusionchat.checks.common import missing_file, missing_folder, unknown
from fusionchat.checks.models import endpoint
from fusionchat.errors import UserError
from fusionchat.files import read_jsonl
from fusionchat.mt_bench.fetching import PATHS, read_local
from fusionchat.schema import SCHEMA, Config
from fusionchat.scores.paper import read_paper

PAPER = SCHEMA.parents[1] / "resources" / "paper" / "table1.csv"
GROUPS = {
    "models": "Source",
    "comparisons": "Comparison",
    "targets": "Target",
    "merges": "Fused",
}


def faults(config: Config) -> Iterator[str]:
    """Faults of `mt_bench`, and rows that the paper does not have."""
    bench = config["mt_bench"]
    yield from _files(bench)
    for name, judge in bench["judges"].items():
        if judge["kind"] == "openai":
            yield from endpoint(f"mt_bench.judges.{name}", judge)
    yield from _pairwise(config)
    if "alpaca_eval" in config:
        yield from _alpaca_eval(config["alpaca_eval"], bench["judges"])
    yield from _paper_rows(config, PAPER)


def _alpaca_eval(settings: Config, judges: Config) -> Iterator[str]:
    """Its judge, which must be an LLM, and files of the user's own."""
    yield from missing_folder("alpaca_eval.data", settings)
    for name in FILES if "data" in settings and isdir(settings["data"]) else ():
        if not isfile(Path(settings["data"], name)):
            yield f"alpaca_eval.data: {settings['data']} lacks {name}"
    llms = [name for name, judge in judges.items() if judge["kind"] == "openai"]
    if not llms:
        yield "alpaca_eval: needs a judge of kind openai among mt_bench.judges"
    elif settings.get("judge", llms[0]) not in llms:
        yield unknown("alpaca_eval.judge", settings["judge"], llms)


def _pairwise(config: Config) -> Iterator[str]:
    """Who is compared with whom side by side, and by whom."""
    named = config["mt_bench"].get("pairwise", {})
    known = [
        name for section in GROUPS for name, one in config[section].items() if "paper" not in one
    ]
    if "baseline" in named and named["baseline"] not in known:
        yield unknown("mt_bench.pairwise.baseline", named["baseline"], known)
    judges = config["mt_bench"]["judges"]
    if "judge" in named and named["judge"] not in judges:
        yield unknown("mt_bench.pairwise.judge", named["judge"], judges)


def _files(bench: Config) -> Iterator[str]:
    """The user's own benchmark files."""
    yield from missing_folder("mt_bench.questions", bench)
    yield from missing_file("mt_bench.references", bench)
    yield from missing_file("mt_bench.human_votes", bench)
    try:
        if "references" in bench:
            read_jsonl(bench["references"])
        for name in PATHS if "questions" in bench else ():
            if name != "references.jsonl" or "references" not in bench:
                read_local(Path(bench["questions"]), name)
    except (UserError, OSError) as error:
        yield f"mt_bench: {error}"


def _paper_rows(config: Config, path: Path) -> Iterator[str]:
    """Rows of the paper that a model is compared with, or that stand for it."""
    printed = read_paper(path).groups
    for section, group in GROUPS.items():
        for name, entry in config[section].items():
            row = entry.get("paper_row")
            known = [row for row, other in printed.items() if other == group]
            if row is not None and row not in known:
                yield unknown(f"{section}.{name}.paper_row", row, known)
            if "paper" in entry and entry["paper"] not in printed:
                yield unknown(f"{section}.{name}.paper", entry["paper"], list(printed))
