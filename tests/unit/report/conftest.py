"""A finished run, and its Table 1."""

import dataclasses

import pytest
import report_run
from report_run import PAPER

from fusionchat.merging import variation


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return report_run.make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def first(run):
    """Table 1 of the run, with signs beside the paper."""
    import table1

    nll = [str(path) for path in sorted((run / "nll").glob("*.json"))]
    words = ["--scores", str(run / "mt_bench/scores.parquet"), *report_run.rows(), "--baseline"]
    words += ["clm", "--nll", *nll, "--paper", str(PAPER / "table1.csv")]
    words += ["--null", "ta:linear:same weights", "--output", str(run / "tables/table1")]
    changes = {"a": variation.Variation("a", "-", "-", 6, 3.0, 0.5, 2.0, 1.0, 1.0)}
    changes["b"] = dataclasses.replace(changes["a"], tensor="b", sum_square=7e-9)
    file = run / "variation.parquet"
    variation.write_variation(file, variation.VariationTable(changes, "p", "t"))
    words += ["--equal-changes", f"clm={file}"]
    winners = run / "winners.csv"
    winners.write_text(
        "target,category,teacher,dialogues,share\n"
        "ta,all,pivot,9,1.0\nta,all,solar,0,0.0\nta,maths,pivot,2,1.0\nta,maths,solar,0,0.0\n"
    )
    words += ["--winners", str(winners)]
    table1.main(words)
    return run / "tables"
