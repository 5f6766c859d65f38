"""The workflow as a whole: lint, declarations, and the files of a finished run."""

import ast
import re
from pathlib import Path

import pandas as pd
import pytest

from fusionchat.files import read_json

ROOT = Path(__file__).resolve().parents[2]
RULES = sorted((ROOT / "rules").glob("*.smk"))


def rule_blocks(path: Path) -> dict[str, str]:
    parts = re.split(r"^rule (\w+):$", path.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


BLOCKS = {name: text for path in RULES for name, text in rule_blocks(path).items()}


@pytest.mark.parametrize("name", [name for name, text in BLOCKS.items() if "shell:" in text])
def test_each_rule_is_declared_in_full(name: str):
    text = BLOCKS[name]
    for directive in ("input", "output", "log", "benchmark", "conda", "threads", "resources"):
        assert f"    {directive}:" in text, directive
    assert text.lstrip().startswith('"""')
    programs = set(re.findall(r'program\("(\w+)"\)', text))
    assert len(programs) == 1
    for program in programs:
        tree = ast.parse((ROOT / "scripts" / f"{program}.py").read_text())
        assert ast.get_docstring(tree)


def test_text_values_reach_the_shell_quoted():
    """Numbers and closed choices may stand bare; names, paths and free text may not."""
    for name, text in BLOCKS.items():
        for field in re.findall(r"\{((?:input|output|log)\b[^}]*)\}", text.partition("shell:")[2]):
            assert field.endswith(":q"), (name, field)


def test_lint_is_clean(finished):
    run = finished.snakemake("--lint")
    assert run.returncode == 0, run.stdout + run.stderr


def test_tables_hold_every_model_of_the_run(finished):
    table = pd.read_csv(finished.results / "tables" / "table1.csv")
    scores = pd.read_parquet(finished.results / "mt_bench" / "scores.parquet")
    assert len(table) == scores["model"].nunique() == 11


def test_every_job_left_a_log_and_a_benchmark(finished):
    logs = {
        p.relative_to(finished.results / "logs").with_suffix("")
        for p in finished.results.glob("logs/**/*.log")
    }
    benchmarks = {
        p.relative_to(finished.results / "benchmarks").with_suffix("")
        for p in finished.results.glob("benchmarks/**/*.tsv")
    }
    assert logs == benchmarks
    assert len(logs) > 40


def test_what_was_left_out_or_not_scored_is_counted(finished):
    dialogues = read_json(finished.results / "dialogues" / "report.json")
    assert (dialogues["malformed"], dialogues["heldout_rows"]) == ({}, 8)
    for model in ("pivot", "moe", "deep"):
        shards = [
            read_json(finished.results / "logits" / model / f"{shard:04d}.json")
            for shard in range(2)
        ]
        assert sum(facts["dialogues"] for facts in shards) == dialogues["training_rows"]
        assert all(facts["not_finite"] == facts["too_long"] == [] for facts in shards)


def test_no_partial_files_are_left(finished):
    assert not list(finished.results.rglob("*.partial"))
