"""Gains over controls at the points of a map."""

import csv

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gains

CATEGORIES = ("math", "coding")
LIFT = {"clm": 0.0, "self": 0.5, "fused": 1.5, "clm_b": 0.0, "self_b": 1.0, "fused_b": 1.0}


@pytest.fixture
def scores(tmp_path):
    """Two turns of six questions a category; models differ by their lift alone."""
    rows = [
        (model, seed, "rule", 0, 0, number, category, turn, 4 + lift + (number * 7 + seed) % 3 / 10)
        for model, lift in LIFT.items()
        for seed in (1, 2)
        for number, category in enumerate(CATEGORIES * 6)
        for turn in (1, 2)
    ]
    names = ("model", "seed", "judge", "repeat", "choice", "question_id", "category", "turn")
    columns = zip((*names, "score"), zip(*rows, strict=True), strict=True)
    path = tmp_path / "scores.parquet"
    pq.write_table(pa.table({name: list(values) for name, values in columns}), path)
    return path


def written(scores, *options):
    prefix = scores.parent / "map"
    gains.main(["--scores", str(scores), "--title", "Map", "--output", str(prefix), *options])
    with open(f"{prefix}.csv", newline="") as stream:
        return list(csv.DictReader(stream)), prefix.with_suffix(".md").read_text()


def test_each_row_is_compared_with_the_controls_of_its_point(scores):
    points = ["--point", "0.9:0:CLM=clm,Self=self,VaRM=fused"]
    points += ["--point", "0.1:0:CLM=clm_b,Self=self_b,VaRM=fused_b"]
    axes = ["--x", "CLM weight", "--y", "wrong answers"]
    records, text = written(scores, *points, *axes, "--control", "CLM", "Self")
    found = {(float(r["x"]), r["row"], r["control"]): round(float(r["gain"]), 9) for r in records}
    assert found == {
        (0.9, "VaRM", "CLM"): 1.5,
        (0.1, "VaRM", "CLM"): 1.0,
        (0.9, "VaRM", "Self"): 1.0,
        (0.1, "VaRM", "Self"): 0.0,
    }
    assert "| CLM weight 0.1 | CLM weight 0.9 |" in text
    assert "*VaRM − CLM*" in text


def test_a_curve_has_a_line_for_each_pair(scores):
    points = ["--point", "50:0:CLM=clm,VaRM=fused", "--point", "450:0:CLM=clm_b,VaRM=fused_b"]
    records, text = written(scores, *points, "--x", "dialogues", "--control", "CLM")
    assert [float(r["x"]) for r in records] == [50, 450]
    assert "| VaRM − CLM |" in text
    assert "dialogues 50 | dialogues 450" in text


def test_a_broken_point_is_named(scores, capsys):
    with pytest.raises(SystemExit):
        written(scores, "--point", "0.9:CLM=clm", "--x", "x", "--control", "CLM")
    assert "'0.9:CLM=clm' is not X:Y:LABEL=MODEL" in capsys.readouterr().err
