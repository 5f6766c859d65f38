"""Every number of Table 1, computed once more from the files that it is made of."""

import json
import math
import re

import numpy as np
import pytest
import report_run
from report_run import judged, read_csv, recomputed
from scipy import stats

from fusionchat.tables.table import fixed

DIFFERENCE = {
    f"difference{part}" for part in ("", "_error", "_low", "_high", "_p", "_p_holm", "_detectable")
} | {"questions_needed"}


def test_every_score_follows_from_the_judgment_files(run, first):
    records = read_csv(first / "table1.csv")
    base = recomputed(run, "clm")
    for model in report_run.MODELS:
        for name, value in recomputed(run, model).items():
            assert float(records[model][name]) == pytest.approx(value, abs=1e-12)
            change = 100 * (value - base[name]) / base[name]
            assert float(records[model][f"{name}_percent"]) == pytest.approx(change, abs=1e-9)


def test_every_difference_follows_from_the_judgment_files(run, first):
    records = read_csv(first / "table1.csv")
    base = judged(run, "clm")
    for model in (*report_run.TARGETS[1:], *report_run.MERGES):
        parts, variances, spreads = [], [], []
        for category, questions in judged(run, model).items():
            pairs = [
                (sum(scores) - sum(base[category][question])) / 2
                for question, scores in questions.items()
                if min(scores) > 0
            ]
            parts.append(np.mean(pairs))
            variances.append(np.var(pairs, ddof=1) / len(pairs))
            spreads.append(variances[-1] ** 2 / (len(pairs) - 1))
        record = {
            name: float(text or "nan")
            for name, text in records[model].items()
            if name in DIFFERENCE
        }
        difference, error = np.mean(parts), math.sqrt(sum(variances)) / len(parts)
        student = stats.t(sum(variances) ** 2 / sum(spreads))
        assert record["difference"] == pytest.approx(difference, abs=1e-12)
        assert record["difference_error"] == pytest.approx(error, rel=1e-9)
        half = student.ppf(0.975) * error
        assert record["difference_low"] == pytest.approx(difference - half)
        assert record["difference_high"] == pytest.approx(difference + half)
        assert record["difference_p"] == pytest.approx(2 * student.sf(abs(difference) / error))
        detectable = (student.ppf(0.975) + student.ppf(0.8)) * error
        assert record["difference_detectable"] == pytest.approx(detectable)
        needed = 40 * (detectable / difference) ** 2
        assert record["questions_needed"] == pytest.approx(needed)


def test_noise_follows_from_the_judgment_files(run, first):
    """One answer and one judgment each: all noise is in the spread of questions."""
    records, parts = read_csv(first / "table1.csv"), []
    for model in report_run.MODELS:
        within = [
            np.var([np.mean(s) for s in questions.values() if min(s) > 0], ddof=1)
            for questions in judged(run, model).values()
        ]
        parts.append(np.mean(within))
        assert float(records[model]["variance_question"]) == pytest.approx(parts[-1])
        assert records[model]["variance_judge"] == records[model]["repeats_needed"] == ""
    line = f"| question | {fixed(math.sqrt(np.mean(parts)))} |"
    assert line in re.sub(" +", " ", (first / "table1.md").read_text())


def test_null_controls_follow_from_the_judgment_files(run, first):
    records = read_csv(first / "table1.csv")
    difference = recomputed(run, "ta")["average"] - recomputed(run, "linear")["average"]
    assert float(records["ta"]["minus_linear"]) == pytest.approx(difference)
    assert float(records["ta"]["minus_linear_low"]) < difference
    text = re.sub(" +", " ", (first / "table1.md").read_text())
    assert f"| TA − Linear | same weights | {fixed(difference, signed=True)} |" in text


def test_likelihood_differences_follow_from_their_files(run, first):
    records = read_csv(first / "table1.csv")
    base, ours = (
        np.asarray(
            [row[2:] for row in json.loads((run / f"nll/{m}.json").read_text())["per_dialogue"]]
        )
        for m in ("clm", "varm")
    )
    gains, sizes = ours[:, 0] - base[:, 0], base[:, 2]
    difference = gains.sum() / sizes.sum()
    error = np.sqrt(30 / 29 * ((gains - difference * sizes) ** 2).sum()) / sizes.sum()
    record = {
        key: float(records["varm"][f"nll_byte_difference{key}"]) for key in ("", "_low", "_high")
    }
    assert record[""] == pytest.approx(difference)
    assert record["_high"] == pytest.approx(difference + stats.t(29).ppf(0.975) * error)
    assert records["clm"]["nll_byte_difference"] == ""
    text = (first / "table1.md").read_text().split("### Held-out likelihood")[1]
    assert fixed(difference, 4, signed=True) in text


def test_holm_is_applied_over_the_declared_family(first):
    records = read_csv(first / "table1.csv")
    family = [r for r in records.values() if r["difference_p"]]
    assert {r["model"] for r in family} == {*report_run.TARGETS[1:], *report_run.MERGES}
    ordered = sorted(family, key=lambda r: float(r["difference_p"]))
    smallest = min(1.0, len(family) * float(ordered[0]["difference_p"]))
    assert float(ordered[0]["difference_p_holm"]) == pytest.approx(smallest)
    merges = {r["model"] for r in records.values() if r["from_best_target_p"]}
    assert merges == set(report_run.MERGES)


def test_nll_follows_from_its_file(run, first):
    records = read_csv(first / "table1.csv")
    for model in report_run.MODELS:
        facts = json.loads((run / f"nll/{model}.json").read_text())
        assert float(records[model]["nll"]) == pytest.approx(facts["nll"])
        assert float(records[model]["nll_byte"]) == pytest.approx(facts["nll_byte"])
        assert float(records[model]["nll_low"]) < facts["nll"] < float(records[model]["nll_high"])
