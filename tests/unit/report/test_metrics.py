"""A metric is a column: its file, and what it becomes in Table 1, in the claims and on the page."""

import csv

import numpy as np
import pyarrow.parquet as pq
import pytest
import report_run
from scipy import stats

import claims
import table1
from fusionchat.errors import UserError
from fusionchat.scores.comparisons import compare, score
from fusionchat.scores.likelihood import BYTE
from fusionchat.scores.metric_files import read_columns, read_metrics, write_columns
from fusionchat.scores.metrics import Column, Measured, Metric, column

MISSES = Metric(
    *("misses", "misses %", "share of questions missed", "question"),
    **{"better": -1, "scale": 100.0, "digits": 1, "bounds": (0.0, 1.0), "binary": True},
)
UNITS = 60


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return report_run.make_run(tmp_path_factory.mktemp("run"))


def misses(**rates: float) -> Column:
    """VaRM misses little, the others what is said; the same for every seed of a name."""
    rng = np.random.default_rng(4)
    drawn = rng.random(UNITS)
    return column(
        MISSES,
        {
            name.replace("_seed", "-seed"): {
                f"q{i}": Measured(float(x < rate)) for i, x in enumerate(drawn)
            }
            for name, rate in rates.items()
        },
    )


def words(run, folder, values):
    listed = ["--scores", str(run / "mt_bench/scores.parquet"), *report_run.rows()]
    return [*listed, "--metrics", str(values), "--output", str(folder / "out")]


def test_a_file_of_metrics_gives_back_what_was_written(tmp_path):
    sized = {"clm": {"a": Measured(1.5, 4.0), "b": Measured(float("nan"), 2.0)}}
    nll = column(BYTE, sized | {"clm-seed2": {"b": Measured(1.0, 2.0), "a": Measured(2.0, 4.0)}})
    parts = {"one": {"x": Measured(1.0, 1.0, "s"), "y": Measured(0.0, 1.0, "t")}}
    write_columns(tmp_path / "m.parquet", [nll, column(MISSES, parts)])
    first, second = read_columns(tmp_path / "m.parquet")
    assert (first.metric, second.metric) == (BYTE, MISSES)
    assert first.of("clm").seeds == (1, 2)
    np.testing.assert_array_equal(first.of("clm").values, nll.of("clm").values)
    np.testing.assert_array_equal(first.of("clm").sizes, [4.0, 2.0])
    assert second.of("one").units == ("x", "y")
    assert second.of("one").strata.tolist() == [0, 1]


def test_a_metric_is_a_column_of_table_1(run, tmp_path):
    write_columns(tmp_path / "m.parquet", [misses(clm=0.6, varm=0.2, solar=0.6)])
    table1.main([*words(run, tmp_path, tmp_path / "m.parquet"), "--baseline", "clm"])
    text = (tmp_path / "out.md").read_text()
    assert "misses % |" in text.splitlines()[2]
    assert "### Share of questions missed" in text
    assert f"{UNITS} questions; lower is better." in text
    with (tmp_path / "out.csv").open() as stream:
        rows = {record["model"]: record for record in csv.DictReader(stream)}
    drawn = np.random.default_rng(4).random(UNITS)
    one, other = (drawn < 0.2).astype(float), (drawn < 0.6).astype(float)
    assert float(rows["varm"]["misses"]) == pytest.approx(100 * one.mean())
    known = stats.ttest_1samp(one - other, 0).confidence_interval()
    ends = [float(rows["varm"][f"misses_difference_{end}"]) for end in ("low", "high")]
    assert ends == pytest.approx([100 * known.low, 100 * known.high])
    assert float(rows["solar"]["misses_difference"]) == 0.0
    assert rows["ta"]["misses"] == ""


def test_claims_are_judged_in_the_direction_of_the_metric(run, tmp_path):
    """Fewer misses support a claim; a model that was not measured is no control."""
    write_columns(tmp_path / "m.parquet", [misses(clm=0.6, varm=0.3, solar=0.05)])
    wanted = ["fusion:varm:clm", "merging:varm:solar", "weights:varm:linear"]
    listed = [word for claim in wanted for word in ("--claim", claim)]
    listed += ["--figure", str(tmp_path / "figure")]
    claims.main([*words(run, tmp_path, tmp_path / "m.parquet"), *listed])
    with (tmp_path / "out.csv").open() as stream:
        found = {(r["claim"], r["measure"]): r for r in csv.DictReader(stream)}
    assert found["fusion", "misses"]["verdict"] == "supported"
    assert found["fusion", "misses"]["test"] == "McNemar"
    assert found["merging", "misses"]["verdict"] == "contradicted"
    assert found["weights", "misses"]["verdict"] == "control missing"
    assert found["weights", "rating"]["verdict"] != "control missing"
    assert "Lower misses % is better." in (tmp_path / "out.md").read_text()


def test_intervals_end_at_the_bounds_and_missing_models_are_dashes():
    made = misses(rare=0.06, clm=0.5)
    assert score(made, "rare").low == 0.0
    assert np.isnan(score(made, "nobody").mean)
    with pytest.raises(UserError, match=r"misses: no values of nobody \(there are: rare, clm\)"):
        compare(made, ["nobody"], "clm")


def test_the_interval_of_a_difference_holds_no_impossible_one():
    """Of four questions all but one are missed by one model alone: t would say beyond 1."""
    values = {"worse": [1.0, 1.0, 1.0, 0.0], "better": [0.0] * 4}
    made = {name: dict(enumerate(map(Measured, shares))) for name, shares in values.items()}
    low, high = stats.t.interval(0.95, 3, 0.75, 0.25)
    assert high > 1
    for one, other, ends in (("worse", "better", (low, 1.0)), ("better", "worse", (-1.0, -low))):
        found = compare(column(MISSES, made), [one], other)[one]
        assert (found.low, found.high) == pytest.approx(ends)
    free = Metric("free", "free", "no bounds", "question")
    assert compare(column(free, made), ["worse"], "better")["worse"].high == pytest.approx(high)


def test_pairing_is_by_the_same_units_or_by_shared_ones_of_one_size():
    apart = {"a": {i: Measured(float(i)) for i in range(5)}, "b": {0: Measured(1.0)}}
    with pytest.raises(UserError, match="a and b were measured on other questions"):
        column(MISSES, apart).paired("a", "b")
    sized = {
        "a": {i: Measured(2.0 * i, 2.0) for i in range(6)},
        "b": {i: Measured(1.0 * i, 2.0 if i < 4 else 1.0) for i in range(1, 7)},
    }
    paired = column(BYTE, sized).paired("a", "b")
    assert paired.estimate.mean[0] == pytest.approx((1 + 2 + 3) / 6)
    assert column(BYTE, {"a": sized["a"], "b": {9: Measured(1.0, 2.0)}}).paired("a", "b") is None


@pytest.mark.parametrize("damage", ["metric twice", "unit twice", "no metadata", "not a file"])
def test_damaged_files_are_named(tmp_path, damage):
    path = tmp_path / "m.parquet"
    write_columns(path, [misses(clm=0.5)])
    table = pq.read_table(path)
    if damage == "metric twice":
        with pytest.raises(UserError, match="misses is in two files"):
            read_metrics([], [path, path])
        return
    if damage == "unit twice":
        pq.write_table(table.take([0, 0]), path)
    elif damage == "no metadata":
        pq.write_table(table.replace_schema_metadata(None), path)
    else:
        path.write_text("misses")
    with pytest.raises(UserError, match=r"m\.parquet"):
        read_columns(path)
