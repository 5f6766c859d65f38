"""Intervals and tests with several training seeds, checked against known truth by simulation."""

import csv
import itertools
import json
import math
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import report_run
from scipy import stats

import table1
from fusionchat.errors import UserError
from fusionchat.replicates import paired_seeds, split_seed
from fusionchat.scores.benchmark import read_benchmark
from fusionchat.scores.comparisons import compare
from fusionchat.scores.likelihood import read_likelihoods
from fusionchat.scores.statistics import (
    holm,
    interval,
    ratio_test,
    stratified_mean,
    t_test,
)
from fusionchat.scores.variance import questions_needed

CATEGORIES = 8
BENCHMARKS = 1500
SEEDS = 3
# standard deviations of question, seed (half of it by category) and interaction
QUESTION, INTERACTION = (1.0, 0.4), (1.0, 0.4)
TRAINING = (0.0, 0.05, 0.1, 0.2, 0.5)


def crossed(rng, questions, question, training, interaction, seeds=SEEDS, benchmarks=BENCHMARKS):
    """Differences of mean 0 of crossed questions and seeds: values [Q, seeds, M], strata [Q]."""
    shape = (CATEGORIES, questions, seeds, benchmarks)
    half = training / math.sqrt(2)
    values = rng.normal(0, question, (*shape[:2], 1, benchmarks))
    values = values + rng.normal(0, half, (1, 1, seeds, benchmarks))
    values = values + rng.normal(0, half * math.sqrt(CATEGORIES), (CATEGORIES, 1, *shape[2:]))
    values = values + rng.normal(0, interaction, shape)
    return values.reshape(-1, seeds, benchmarks), np.repeat(np.arange(CATEGORIES), questions)


@pytest.mark.parametrize("training", TRAINING)
@pytest.mark.parametrize(
    ("question", "interaction"), [(q, i) for q in QUESTION for i in INTERACTION]
)
def test_differences_with_seeds_cover_truth(question, interaction, training):
    rng = np.random.default_rng(2)
    found = t_test(*crossed(rng, 10, question, training, interaction))
    coverage = np.mean((found.low <= 0) & (found.high >= 0))
    print(
        f"question {question}, interaction {interaction}, training {training}: the difference's "
        f"interval covers {coverage:.1%}"
    )
    assert 0.93 <= coverage <= 0.97


def test_coverage_on_average_over_all_variances():
    rng, covered = np.random.default_rng(21), []
    for question, interaction, training in itertools.product(QUESTION, INTERACTION, TRAINING):
        found = t_test(*crossed(rng, 10, question, training, interaction, benchmarks=500))
        covered.append((found.low <= 0) & (found.high >= 0))
    print(f"over all variances: covers {np.mean(covered):.1%}")
    assert 0.94 <= np.mean(covered) <= 0.965


@pytest.mark.parametrize("interaction", [0.4, 2.0])
@pytest.mark.parametrize("training", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("questions", [10, 40])
def test_familywise_false_positives_with_seeds(questions, training, interaction):
    """Nine rows that are no better than the baseline, all compared with its three seeds."""
    rng = np.random.default_rng(5)
    base, strata = crossed(rng, questions, 1.0, training, interaction)
    tests = []
    for _ in range(9):
        row, _ = crossed(rng, questions, 1.0, training, interaction)
        tests.append(t_test(row - base, strata).p)
    false = np.mean([(holm(p) < 0.05).any() for p in np.asarray(tests).T])
    print(
        f"8x{questions}, interaction {interaction}, training {training}: "
        f"familywise false positives {false:.1%}"
    )
    assert false <= 0.065


def whole_scores(rng, questions, training, seeds=SEEDS, benchmarks=BENCHMARKS):
    """Whole scores from 1 to 10 with a ceiling; every seed has its own level in each category."""
    centres = np.array([9.4, 8.6, 8.0, 6.0, 5.6, 8.5, 9.4, 9.9])[:, None, None, None]
    question = rng.normal(0, 1.5, (CATEGORIES, questions, 1, benchmarks))
    level = rng.normal(0, training, (1, 1, seeds, benchmarks))
    level = level + rng.normal(0, 2 * training, (CATEGORIES, 1, seeds, benchmarks))
    turns = []
    for _ in range(2):
        answer = rng.normal(0, 1.8, (CATEGORIES, questions, seeds, benchmarks))
        turns.append(np.clip(np.round(centres + question + level + answer), 1, 10))
    scores = np.mean(turns, axis=0)
    return scores.reshape(-1, seeds, benchmarks), np.repeat(np.arange(CATEGORIES), questions)


@pytest.mark.parametrize("training", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("questions", [10, 40])
def test_average_with_seeds_covers_truth(questions, training):
    rng = np.random.default_rng(11)
    truth = whole_scores(rng, 50, training, 1, 20_000)[0].mean()
    values, strata = whole_scores(rng, questions, training)
    found = interval(values, strata, bounds=(1, 10), draws=999)
    coverage = np.mean((found.low <= truth) & (truth <= found.high))
    print(f"8x{questions}, training {training}: the Average's interval covers {coverage:.1%}")
    assert 0.93 <= coverage <= 0.97


@pytest.mark.parametrize("training", [0.0, 0.004, 0.02])
def test_likelihood_with_seeds_covers_truth(training):
    """Nats of 200 dialogues: dialogue, seed and interaction vary; the true ratio is 0.4."""
    rng, covered = np.random.default_rng(6), []
    for _ in range(600):
        sizes = rng.integers(20, 200, 200).astype(float)
        level = 0.4 + rng.normal(0, 0.06, (200, 1)) + rng.normal(0, training, (1, SEEDS))
        totals = sizes[:, None] * (level + rng.normal(0, 0.04, (200, SEEDS)))
        test = ratio_test(totals, sizes)
        low, high = test.low[0], test.high[0]
        covered.append(low <= 0.4 <= high)
    print(f"training {training}: the likelihood's interval covers {np.mean(covered):.1%}")
    assert 0.925 <= np.mean(covered) <= 0.975


def test_two_outliers_of_a_constant_row_give_a_sensible_interval():
    """Once 1.00 to 9.00: resamples without an outlier have no spread at all."""
    values = np.full((80, 1), 9.0)
    values[[3, 50]] = 1.0
    found = interval(values, np.repeat(np.arange(8), 10), bounds=(1, 10))
    assert found.mean[0] == pytest.approx(8.8)
    assert 8.0 < found.low[0] < 8.6, "exact for a rate of 2 in 80: 8.30"
    assert 8.85 < found.high[0] < 9.05
    alike = interval(np.full((80, 1), 9.0), np.repeat(np.arange(8), 10), bounds=(1, 10))
    assert math.isnan(alike.low[0])


def test_rare_outliers_cover_truth():
    """Rows of a constant with outliers at a known rate, where there is an outlier at all."""
    for rate in (0.01, 0.02, 0.04, 0.08):
        rng = np.random.default_rng(4)
        values = np.where(rng.random((80, 2000)) < rate, 1.0, 9.0)
        found = interval(values, np.repeat(np.arange(8), 10), bounds=(1, 10), draws=999)
        given, truth = np.isfinite(found.low), 9 - 8 * rate
        coverage = np.mean((found.low <= truth) & (truth <= found.high + 1e-9), where=given)
        print(f"outliers at {rate:.0%}: covers {coverage:.1%}")
        assert coverage >= 0.93


def test_one_seed_is_the_test_without_seeds():
    values = np.random.default_rng(0).normal(0, 1, (80, 4))
    strata = np.repeat(np.arange(8), 10)
    one, same = t_test(values, strata), t_test(values[:, None], strata)
    assert np.array_equal(one.p, same.p)
    assert not one.estimate.training_error.any()


def test_variance_by_hand():
    """Two questions a category, two categories, three seeds, against a plain two-way analysis."""
    values = np.random.default_rng(1).normal(0, 1, (4, 3)) + np.array([0.0, 2.0, 5.0])
    strata = np.array([0, 0, 1, 1])
    found = stratified_mean(values[:, :, None], strata)
    by_question = values.mean(axis=1)
    questions = sum(np.var(by_question[strata == c], ddof=1) / 2 for c in (0, 1)) / 4
    averages = values.mean(axis=0)  # both categories have two questions
    between = np.var(averages, ddof=1) / 3
    interaction = 0
    for c in (0, 1):
        part = values[strata == c]
        rest = part - part.mean(1, keepdims=True) - part.mean(0) + part.mean()
        interaction += (rest**2).sum() / 2 / 6 / 4
    assert found.question_error[0] ** 2 == pytest.approx(questions)
    assert found.training_error[0] ** 2 == pytest.approx(between - interaction)
    assert found.error[0] ** 2 == pytest.approx(questions + between - interaction)
    assert 2 <= found.freedom[0] < 3


def test_seeds_that_differ_widen_what_equal_seeds_do_not():
    rng = np.random.default_rng(3)
    values, strata = rng.normal(0, 1, (80, 1, 1)), np.repeat(np.arange(8), 10)
    copies = np.repeat(values, 3, axis=1)
    alone, equal = t_test(values, strata), t_test(copies, strata)
    assert equal.low[0] == pytest.approx(alone.low[0])
    apart = t_test(copies + np.array([-1.0, 0.0, 1.0])[None, :, None], strata)
    assert apart.mean[0] == pytest.approx(alone.mean[0])
    assert apart.high[0] - apart.low[0] > 3 * (alone.high[0] - alone.low[0])


def test_a_question_that_one_seed_lacks_does_not_count():
    values = np.random.default_rng(3).normal(0, 1, (80, 3, 1))
    strata = np.repeat(np.arange(8), 10)
    lacking = values.copy()
    lacking[5, 1] = np.nan
    rest = np.delete(np.arange(80), 5)
    one, other = t_test(lacking, strata), t_test(values[rest], strata[rest])
    assert one.low[0] == pytest.approx(other.low[0])


def test_more_questions_cannot_outdo_training():
    assert questions_needed(0.2, 0.2, 80, 0.5) == pytest.approx(80)
    assert questions_needed(0.1, 0.2, 80, 0.5) == math.inf
    assert questions_needed(0.1, 0.2, 80, 0.0) == pytest.approx(320)


def test_names_of_replicates():
    names = ("clm", "clm-seed2", "llama-seed2", "clm-seed10")
    assert split_seed("clm", names) == ("clm", 1)
    assert split_seed("clm-seed10", names) == ("clm", 10)
    assert split_seed("llama-seed2", names) == ("llama-seed2", 1), "there is no llama"
    assert split_seed("clm-seed1", (*names, "clm-seed1")) == ("clm-seed1", 1)


def test_pairs_of_seeds():
    assert paired_seeds([1, 2, 3], [1, 2, 3]) == ([0, 1, 2], [0, 1, 2])
    assert paired_seeds([1, 2, 3], [1]) == ([0, 1, 2], [0, 0, 0])
    assert paired_seeds([1], [1, 2]) == ([0, 0], [0, 1])
    assert paired_seeds([1, 2, 4], [2, 3, 4]) == ([1, 2], [0, 2])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose CLM and VaRM were trained with three seeds."""
    return report_run.make_run(tmp_path_factory.mktemp("run"), replicated=("clm", "varm"))


def average(run, name):
    """The Average of one checkpoint: mean of the category means, from its judgment records."""
    categories = {}
    for line in (run / "questions.jsonl").read_text().splitlines():
        record = json.loads(line)
        categories[record["question_id"]] = record["category"]
    scores = {}
    for line in (run / f"mt_bench/judgments/rule/{name}.jsonl").read_text().splitlines():
        record = json.loads(line)
        scores.setdefault(categories[record["question_id"]], []).append(record["score"])
    return np.mean([np.mean(found) for found in scores.values()])


def test_table1_is_the_mean_over_seeds(run, tmp_path):
    words = ["--scores", str(run / "mt_bench/scores.parquet"), *report_run.rows()]
    nll = [str(path) for path in sorted((run / "nll").glob("*.json"))]
    words += ["--baseline", "clm", "--nll", *nll]
    table1.main([*words, "--output", str(tmp_path / "table1")])
    with (tmp_path / "table1.csv").open(newline="", encoding="utf-8") as stream:
        (varm,) = [record for record in csv.DictReader(stream) if record["model"] == "varm"]
    gains = [average(run, f"varm{s}") - average(run, f"clm{s}") for s in ("", "-seed2", "-seed3")]
    assert float(varm["difference"]) == pytest.approx(np.mean(gains))
    assert varm["seeds"] == "3"
    assert float(varm["difference_training_error"]) ** 2 < np.var(gains, ddof=1) / 3
    text = (tmp_path / "table1.md").read_text()
    assert "Mean over 3 training seeds, whose variation is in the intervals: CLM, VaRM" in text
    assert "Other intervals hold for the one checkpoint of their row." in text
    assert "Paired by question and training seed" in text


def test_scores_without_seeds_are_of_seed_1(run, tmp_path):
    table = pq.read_table(run / "mt_bench/scores.parquet")
    first = table.filter(pa.compute.equal(table["seed"], 1)).drop_columns(["seed"])
    pq.write_table(first, tmp_path / "scores.parquet")
    found = read_benchmark(tmp_path / "scores.parquet")
    assert found.seeds["varm"] == (1,)
    whole = read_benchmark(run / "mt_bench/scores.parquet")
    assert whole.seeds["varm"] == (1, 2, 3)
    assert np.array_equal(found.scores["varm"][0], whole.scores["varm"][0], equal_nan=True)


def test_likelihoods_are_paired_by_seed(run):
    _, found = read_likelihoods(sorted((run / "nll").glob("*.json")))
    assert found.of("clm").seeds == (1, 2, 3)
    facts = [
        json.loads((run / f"nll/{model}{suffix}.json").read_text())["nll_byte"]
        for suffix in ("", "-seed2", "-seed3")
        for model in ("varm", "clm")
    ]
    result = compare(found, ["varm"], "clm")["varm"]
    assert result.difference == pytest.approx(np.mean(facts[::2]) - np.mean(facts[1::2]))
    assert result.low < result.difference < result.high


def test_a_model_whose_likelihoods_are_in_two_files_is_named(run, tmp_path):
    files = [run / "nll" / "clm.json", shutil.copy(run / "nll" / "clm.json", tmp_path / "b.json")]
    with pytest.raises(UserError, match=r"b\.json: clm is in another file too"):
        read_likelihoods(files)


def test_ratio_test_is_the_t_test_of_equal_sizes():
    totals = np.random.default_rng(0).normal(5, 1, 30)
    found = ratio_test(totals, np.full(30, 10.0))
    assert found.p[0] == pytest.approx(stats.ttest_1samp(totals / 10, 0).pvalue)


def test_unknown_model_is_named(run):
    found = read_benchmark(run / "mt_bench/scores.parquet")
    with pytest.raises(UserError, match="no scores of nobody"):
        found.question_means("nobody")
