"""Intervals, corrections and power, checked against known truth by simulation and by hand."""

import math

import numpy as np
import pytest

from fusionchat.scores.statistics import (
    detectable_difference,
    holm,
    interval,
    ratio_test,
    stratified_mean,
    t_test,
)
from fusionchat.scores.variance import Parts, questions_needed, repeats_needed, variance_parts

CATEGORIES = 8
BENCHMARKS = 1000


def mt_bench_like(rng, questions, benchmarks):
    """Mean scores of two turns, whole numbers from 1 to 10 with a ceiling [8, n, benchmarks]."""
    centres = np.array([9.4, 8.6, 8.0, 6.0, 5.6, 8.5, 9.4, 9.9])[:, None, None]
    question = rng.normal(0, 1.5, (CATEGORIES, questions, benchmarks))
    turns = [np.round(centres + question + rng.normal(0, 1.8, question.shape)) for _ in range(2)]
    return np.mean([np.clip(turn, 1, 10) for turn in turns], axis=0)


def rule_like(rng, questions, benchmarks):
    """A rule's scores: right (10) or wrong (1 or 4), with easy and hard categories."""
    rates = np.array([0.95, 0.6, 0.1, 0.7, 0.5, 0.3, 0.9, 0.8])[:, None, None]
    shape = (CATEGORIES, questions, benchmarks)
    known = rng.beta(1.5 * np.broadcast_to(rates, shape), 1.5 * (1 - rates))
    turns = [
        np.where(rng.random(shape) < known, 10.0, np.where(rng.random(shape) < 0.5, 1.0, 4.0))
        for _ in range(2)
    ]
    return np.mean(turns, axis=0)


def flat(scores):
    """[8, n, benchmarks] as values [Q, benchmarks] and strata [Q]."""
    questions = scores.shape[1]
    return scores.reshape(-1, scores.shape[2]), np.repeat(np.arange(CATEGORIES), questions)


WORLDS = {"MT-Bench-like": mt_bench_like, "rule-like": rule_like}


@pytest.mark.parametrize("questions", [10, 40])
@pytest.mark.parametrize("world", WORLDS)
def test_average_covers_truth(world, questions):
    rng = np.random.default_rng(20240226)
    truth = WORLDS[world](rng, 20_000, 20).mean()
    values, strata = flat(WORLDS[world](rng, questions, BENCHMARKS))
    found = interval(values, strata, bounds=(1, 10), draws=999)
    coverage = np.mean((found.low <= truth) & (truth <= found.high))
    print(f"{world}, 8x{questions}: the Average's 95% interval covers {coverage:.1%}")
    assert 0.93 <= coverage <= 0.97


@pytest.mark.parametrize("questions", [10, 40])
@pytest.mark.parametrize("world", WORLDS)
def test_category_cells_cover_truth(world, questions):
    rng = np.random.default_rng(7)
    truths = WORLDS[world](rng, 20_000, 20).mean(axis=(1, 2))
    scores = WORLDS[world](rng, questions, BENCHMARKS)
    for truth, cell in zip(truths, scores, strict=True):
        found = interval(cell, np.zeros(questions, int), bounds=(1, 10), draws=999)
        given = np.isfinite(found.low)
        covered = (found.low <= truth) & (truth <= found.high)
        coverage = covered[given].mean()
        print(
            f"{world}, cell of {questions} questions, mean {truth:.2f}: covers {coverage:.1%}; "
            f"{1 - given.mean():.1%} of the cells have equal scores and no interval"
        )
        assert coverage >= 0.90


def differences(world, rng, questions, answered_otherwise, benchmarks=BENCHMARKS):
    """Paired differences of two equally good models that answer a share of the questions alike."""
    one, other = (WORLDS[world](rng, questions, benchmarks) for _ in range(2))
    return np.where(rng.random(one.shape) < answered_otherwise, one - other, 0.0)


SHARES = [0.03, 0.1, 0.3, 1.0]  # of questions that two models answer otherwise


@pytest.mark.parametrize("questions", [10, 40])
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("world", WORLDS)
def test_paired_difference_covers_truth(world, share, questions):
    rng = np.random.default_rng(12)
    values, strata = flat(differences(world, rng, questions, share))
    found = t_test(values, strata)
    given = np.isfinite(found.low)
    coverage = np.mean((found.low <= 0) & (found.high >= 0), where=given)
    print(
        f"{world}, 8x{questions}, {share:.0%} answered otherwise: difference covers {coverage:.1%}"
    )
    assert coverage >= 0.93


@pytest.mark.parametrize("questions", [10, 40])
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("world", WORLDS)
def test_familywise_false_positives(world, share, questions):
    rng = np.random.default_rng(99)
    models = 9
    tests = [t_test(*flat(differences(world, rng, questions, share))).p for _ in range(models)]
    false = np.mean([(holm(p) < 0.05).any() for p in np.asarray(tests).T])
    print(f"{world}, 8x{questions}, {share:.0%} answered otherwise: false positives {false:.1%}")
    assert false <= 0.065


def test_familywise_false_positives_against_one_baseline():
    """As in Table 1: all rows are compared with the same model, so that their errors correlate."""
    rng = np.random.default_rng(98)
    for name, world in WORLDS.items():
        base = world(rng, 40, BENCHMARKS)
        tests = [t_test(*flat(world(rng, 40, BENCHMARKS) - base)).p for _ in range(9)]
        false = np.mean([(holm(p) < 0.05).any() for p in np.asarray(tests).T])
        print(f"{name}, 8x40, one baseline: familywise false positives {false:.1%}")
        assert false <= 0.065


@pytest.mark.parametrize("questions", [10, 40])
@pytest.mark.parametrize("share", SHARES)
def test_rare_gains_are_not_overestimated(share, questions):
    """A model that only gains, on some of the questions: the interval may err towards 0 alone."""
    rng, sizes = np.random.default_rng(3), [1.5, 3.0, 4.5, 9.0]
    shape = (CATEGORIES, questions, BENCHMARKS)
    gains = np.where(rng.random(shape) < share, rng.choice(sizes, shape), 0.0)
    found, truth = t_test(*flat(gains)), share * np.mean(sizes)
    given = np.isfinite(found.low)
    coverage = np.mean((found.low <= truth) & (truth <= found.high), where=given)
    print(f"8x{questions}, gains on {share:.0%}: difference covers {coverage:.1%}")
    assert np.mean(found.low > truth) <= 0.03
    assert coverage >= 0.84


def test_detectable_difference_is_found_four_times_in_five():
    rng = np.random.default_rng(5)
    questions = 20
    values, strata = flat(rng.normal(0, 2, (CATEGORIES, questions, BENCHMARKS)))
    error = 2 / math.sqrt(CATEGORIES * questions)
    shift = detectable_difference(error, CATEGORIES * (questions - 1))
    found = t_test(values + shift, strata)
    assert 0.77 <= np.mean(found.low > 0) <= 0.83
    assert np.array_equal(found.low > 0, (found.p < 0.05) & (found.mean > 0))


def test_t_test_of_one_category_is_scipys():
    from scipy.stats import ttest_1samp

    values = np.random.default_rng(8).normal(0.4, 1, (12, 3))
    found, known = t_test(values, np.zeros(12, int)), ttest_1samp(values, 0)
    assert found.p == pytest.approx(known.pvalue)
    assert found.low == pytest.approx(known.confidence_interval().low)
    assert found.estimate.freedom == pytest.approx(11)


def test_t_test_of_two_categories_is_welchs():
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(9)
    one, other = rng.normal(0.5, 1, 9), rng.normal(0, 3, 17)
    values = np.append(one, -other)[:, None]
    found, known = (
        t_test(values, np.repeat([0, 1], [9, 17])),
        ttest_ind(one, other, equal_var=False),
    )
    assert found.p[0] == pytest.approx(known.pvalue)
    assert 2 * found.low[0] == pytest.approx(known.confidence_interval().low)


def test_stratified_mean_is_mean_of_category_means():
    values = np.array([[1.0], [3.0], [10.0], [np.nan]])
    found = stratified_mean(values, np.array([0, 0, 1, 1]))
    assert found.mean[0] == 6.0
    assert math.isnan(found.error[0])


def test_equal_scores_have_no_interval():
    values = np.column_stack([np.full(16, 7.0), np.arange(16.0)])
    found = interval(values, np.repeat([0, 1], 8))
    assert math.isnan(found.low[0])
    assert math.isnan(found.high[0])
    assert found.mean[0] == 7.0
    assert found.low[1] < found.mean[1] < found.high[1]


def test_identical_models_differ_by_nothing():
    found = t_test(np.column_stack([np.zeros(16), np.ones(16)]), np.repeat([0, 1], 8))
    assert found.mean[0] == 0
    assert found.p[0] == 1
    assert np.isnan([*found.low, *found.high, found.p[1]]).all()


def test_missing_questions_are_left_out():
    rng = np.random.default_rng(0)
    values = rng.normal(5, 1, (40, 1))
    strata = np.repeat([0, 1], 20)
    lacking = np.vstack([values, [[np.nan]], [[np.nan]]])
    found = interval(lacking, np.append(strata, [0, 1]))
    whole = interval(values, strata)
    assert found.mean == pytest.approx(whole.mean)
    assert found.low == pytest.approx(whole.low, abs=0.1)


def test_same_seed_gives_same_interval():
    values = np.random.default_rng(1).normal(5, 1, (40, 3))
    strata = np.repeat([0, 1], 20)
    one, two = interval(values, strata), interval(values, strata)
    assert np.array_equal(one.low, two.low)
    alone = interval(values[:, 1:2], strata)
    assert alone.low[0] == pytest.approx(one.low[1])


def test_holm_by_hand():
    adjusted = holm(np.array([0.01, 0.04, 0.03, np.nan]))
    assert adjusted[:3] == pytest.approx([0.03, 0.06, 0.06])
    assert math.isnan(adjusted[3])
    assert holm(np.array([0.6, 0.9])) == pytest.approx([1.0, 1.0])


def test_ratio_interval_covers_truth():
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        tokens = rng.integers(5, 60, 150).astype(float)
        nats = tokens * rng.gamma(4, 0.1, 150)
        found = ratio_test(nats, tokens)
        covered += found.low[0] <= 0.4 <= found.high[0]
    assert 0.92 <= covered / 400 <= 0.98


def test_ratio_of_one_dialogue_has_no_interval():
    found = ratio_test(np.array([3.0]), np.array([6.0]))
    assert found.mean[0] == 0.5
    assert math.isnan(found.low[0])
    assert math.isnan(found.high[0])


def nested_scores(rng, choices, repeats, questions=4000):
    question = rng.normal(0, 2, (questions, 1, 1))
    answer = rng.normal(0, 1, (questions, choices, 1))
    return 5 + question + answer + rng.normal(0, 0.5, (questions, choices, repeats))


def test_variance_parts_are_recovered():
    scores = nested_scores(np.random.default_rng(2), 3, 4)
    parts = variance_parts(scores, np.repeat([0, 1], 2000))
    assert parts.question == pytest.approx(4, rel=0.1)
    assert parts.answer == pytest.approx(1, rel=0.1)
    assert parts.judge == pytest.approx(0.25, rel=0.1)


def test_unmeasured_parts_are_not_zero():
    rng = np.random.default_rng(2)
    strata = np.repeat([0, 1], 2000)
    single = variance_parts(nested_scores(rng, 1, 1), strata)
    assert math.isnan(single.answer)
    assert math.isnan(single.judge)
    deterministic = np.repeat(nested_scores(rng, 2, 1), 3, axis=2)
    assert math.isnan(variance_parts(deterministic, strata).judge)


def test_questions_needed_grow_with_the_square():
    assert questions_needed(0.1, 0.2, 80) == pytest.approx(320)
    assert questions_needed(0.0, 0.2, 80) == math.inf
    assert math.isnan(questions_needed(0.1, math.nan, 80))


def test_repeats_needed():
    parts = Parts(question=0.5, answer=1.0, judge=math.nan, choices=2, repeats=1)
    error = math.sqrt((0.5 + 1.0 / 2) / 100)
    needed = 2.8016
    assert repeats_needed(needed * math.sqrt((0.5 + 1.0 / 10) / 100), parts, error) in (10, 11)
    assert repeats_needed(needed * math.sqrt(0.4 / 100), parts, error) == math.inf
    blind = Parts(1.0, math.nan, math.nan, 1, 1)
    assert math.isnan(repeats_needed(0.3, blind, 0.1))
