"""Claims and controls: every verdict recomputed from the judgment and likelihood files alone."""

import csv
import json
import math

import numpy as np
import pytest
import report_run
from scipy import stats

import claims
from fusionchat.errors import UserError
from fusionchat.files import write_jsonl
from fusionchat.mt_bench.questions import read_questions
from fusionchat.mt_bench.scores import read_scores
from fusionchat.scores.claims import (
    CONTRADICTED,
    CONTROL_MISSING,
    NOT_RESOLVABLE,
    SUPPORTED,
    claim_argument,
    find,
)
from fusionchat.scores.comparisons import Comparison

CLAIMS = ("fusion:varm:clm", "knowledge:varm:linear", "merging:varm:mixtral,solar", "weights:varm:")
REPLICATED = ("clm", "varm", "linear", "mixtral", "solar")


@pytest.fixture(scope="module", params=[(), REPLICATED], ids=["one-seed", "three-seeds"])
def run(request, tmp_path_factory):
    """A finished run with its claims, with one or three training seeds."""
    folder = report_run.make_run(tmp_path_factory.mktemp("run"), replicated=request.param)
    claims.main(words(folder))
    return folder, ("", "-seed2", "-seed3")[: 3 if request.param else 1]


def words(run, wanted=CLAIMS):
    nll = [str(path) for path in sorted((run / "nll").glob("*.json"))]
    listed = ["--scores", str(run / "mt_bench/scores.parquet"), *report_run.rows(), "--nll", *nll]
    listed += [word for claim in wanted for word in ("--claim", claim)]
    return [
        *listed,
        "--figure",
        str(run / "figures/claims"),
        "--output",
        str(run / "tables/claims"),
    ]


def records(run):
    with (run / "tables/claims.csv").open(newline="", encoding="utf-8") as stream:
        return {(r["claim"], r["measure"]): r for r in csv.DictReader(stream)}


def question_scores(run, name):
    """{(category, question): mean score} of one checkpoint, from its judgment records."""
    lines = (run / "questions.jsonl").read_text().splitlines()
    categories = {q["question_id"]: q["category"] for q in map(json.loads, lines)}
    found = {}
    for line in (run / f"mt_bench/judgments/rule/{name}.jsonl").read_text().splitlines():
        record = json.loads(line)
        key = (categories[record["question_id"]], record["question_id"])
        found.setdefault(key, []).append(record["score"])
    return {key: sum(scores) / 2 for key, scores in found.items() if min(scores) > 0}


def rating_test(run, row, control, seeds):
    """Difference and p-value of a pair: two-way analysis of questions and seeds, by hand."""
    pairs = [(question_scores(run, row + s), question_scores(run, control + s)) for s in seeds]
    shared = set.intersection(*(set(side) for pair in pairs for side in pair))
    by_category = {}
    for category, question in sorted(shared):
        values = [one[category, question] - other[category, question] for one, other in pairs]
        by_category.setdefault(category, []).append(values)
    return two_way([np.array(values) for values in by_category.values()])


def likelihood_p(run, row, control, seeds):
    """The same for held-out nats per byte, by the linearised ratio."""
    files = [
        [json.loads((run / f"nll/{name}{s}.json").read_text()) for name in (row, control)]
        for s in seeds
    ]
    sizes = np.array([entry[4] for entry in files[0][0]["per_dialogue"]])
    gains = np.array(
        [
            [a[2] - b[2] for a, b in zip(one["per_dialogue"], other["per_dialogue"], strict=True)]
            for one, other in files
        ]
    ).T
    ratio = gains.sum() / sizes.sum() / len(seeds)
    return two_way([ratio + (gains - ratio * sizes[:, None]) * len(sizes) / sizes.sum()])


def two_way(groups):
    count = len(groups)
    seeds = groups[0].shape[1]
    mean = np.mean([group.mean() for group in groups])
    parts = [np.var(g.mean(axis=1), ddof=1) / len(g) / count**2 for g in groups]
    questions = sum(parts)
    spread = sum(part**2 / (len(g) - 1) for part, g in zip(parts, groups, strict=True))
    if seeds == 1:
        return mean, 2 * stats.t(questions**2 / spread).sf(abs(mean) / math.sqrt(questions))
    averages = np.mean([group.mean(axis=0) for group in groups], axis=0)
    between = np.var(averages, ddof=1) / seeds
    interaction = 0
    for g in groups:
        rest = g - g.mean(1, keepdims=True) - g.mean(0) + g.mean()
        interaction += (rest**2).sum() / (len(g) - 1) / (seeds - 1) / len(g) / seeds / count**2
    extra = max(0, between - interaction)
    total = questions + extra
    if extra:
        spread += 2 * between**2 / (seeds - 1)
    both = 2 * stats.t(max(total**2 / spread, seeds - 1)).sf(abs(mean) / math.sqrt(total))
    alone = 2 * stats.t(seeds - 1).sf(abs(mean) / math.sqrt(between))
    return mean, max(both, alone)


@pytest.mark.parametrize("measure", ["rating", "nll_byte"])
def test_every_verdict_follows_from_the_files(run, measure):
    folder, seeds = run
    family = {"fusion": ["clm"], "knowledge": ["linear"], "merging": ["mixtral", "solar"]}
    test = rating_test if measure == "rating" else likelihood_p
    results = {c: test(folder, "varm", c, seeds) for cs in family.values() for c in cs}
    ordered = sorted(results, key=lambda control: results[control][1])
    corrected, last = {}, 0.0
    for place, control in enumerate(ordered):
        last = max(last, min(1.0, (len(ordered) - place) * results[control][1]))
        corrected[control] = last
    found = records(folder)
    for name, controls in family.items():
        better = 1 if measure == "rating" else -1
        gains = {control: better * results[control][0] for control in controls}
        settled = [np.sign(gains[c]) if corrected[c] < 0.05 else 0 for c in controls]
        verdict = SUPPORTED if min(settled) > 0 else NOT_RESOLVABLE
        verdict = CONTRADICTED if min(settled) < 0 else verdict
        record = found[name, measure]
        hardest = min(gains, key=gains.get)
        assert record["verdict"] == verdict
        assert record["control"] == hardest
        assert float(record["difference"]) == pytest.approx(results[hardest][0])
        assert float(record["p_holm"]) == pytest.approx(corrected[hardest])
    assert found["weights", measure]["verdict"] == CONTROL_MISSING


def test_table_says_family_and_what_is_missing(run):
    text = (run[0] / "tables/claims.md").read_text()
    assert "Holm-corrected over these 4 comparisons, for each measure" in text
    assert "no control for: Weights by parameter change improve on a plain mean" in text
    assert (run[0] / "figures/claims.svg").stat().st_size > 1000
    assert "VaRM" in (run[0] / "figures/claims.svg").read_text().split("dc:description>")[1]


def test_a_useless_source_is_no_gain_beyond_self(tmp_path):
    """The pivot teaches everything: fused rows answer as Self does, and both better than CLM."""
    rng = np.random.default_rng(0)
    run = report_run.make_run(tmp_path)
    for path in (run / "mt_bench/judgments/rule").glob("*.jsonl"):
        path.unlink()
    questions = read_questions(run / "questions.jsonl")
    base = rng.integers(3, 7, (3, len(questions), 2))
    smooth = base + 1
    for name, scores in {"clm": base, "solar": smooth, "varm": smooth}.items():
        for seed, values in enumerate(scores, 1):
            full = name if seed == 1 else f"{name}-seed{seed}"
            changed = rng.random(values.shape) < (0.02 if name == "varm" else 0)
            lines = [
                {
                    "question_id": q.question_id,
                    "model": full,
                    "judge": ["rule", "rule-v1"],
                    "judgment": "",
                    "score": float(values[i, turn] + changed[i, turn] * rng.choice([-1, 1])),
                    "turn": turn + 1,
                }
                for i, q in enumerate(questions)
                for turn in (0, 1)
            ]
            write_jsonl(run / f"mt_bench/judgments/rule/{full}.jsonl", lines)
    import pyarrow.parquet as pq

    files = sorted((run / "mt_bench/judgments/rule").glob("*.jsonl"))
    pq.write_table(read_scores(files, questions), run / "mt_bench/scores.parquet")
    listed = ["--scores", str(run / "mt_bench/scores.parquet")]
    listed += report_run.rows(("clm", "solar", "varm"))
    listed += ["--claim", "fusion:varm:clm", "--claim", "knowledge:varm:solar"]
    listed += ["--figure", str(run / "f/claims"), "--output", str(run / "tables/claims")]
    claims.main(listed)
    found = records(run)
    assert found["fusion", "rating"]["verdict"] == SUPPORTED
    assert found["knowledge", "rating"]["verdict"] == NOT_RESOLVABLE


def comparison(difference, p):
    return Comparison(difference, difference - 1, difference + 1, p, p, 0.5, 0.0, 1.0)


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        ((0.5, 0.01), (0.4, 0.01), SUPPORTED),
        ((0.5, 0.01), (0.4, 0.2), NOT_RESOLVABLE),
        ((0.5, 0.01), (-0.4, 0.01), CONTRADICTED),
        ((0.5, 0.01), (-0.4, 0.2), NOT_RESOLVABLE),
        ((0.0, math.nan), (0.4, 0.01), NOT_RESOLVABLE),
    ],
)
def test_all_controls_must_be_beaten(one, other, verdict):
    claim = claim_argument("merging:varm:a,b")
    found = {("varm", "a"): comparison(*one), ("varm", "b"): comparison(*other)}
    assert find(claim, found, 1).verdict == verdict
    assert find(claim, {("varm", "a"): comparison(*one)}, 1).verdict == CONTROL_MISSING


@pytest.mark.parametrize("text", ["fusion:varm", "unknown:varm:clm", "fusion::clm", "a:b:c:d"])
def test_malformed_claims_are_refused(text, capsys):
    with pytest.raises(SystemExit):
        claims.build_parser().parse_args(["--claim", text])
    assert "is not CLAIM:ROW:CONTROL" in capsys.readouterr().err


def test_claims_name_rows_only(run):
    with pytest.raises(UserError, match="--claim: nobody is not among the rows"):
        claims.main(words(run[0], ["fusion:varm:nobody"]))
