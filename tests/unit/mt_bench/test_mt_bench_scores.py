"""Scores, agreement and export on small files."""

import csv
import json

import numpy as np
import pytest
from mt_bench_files import answers, benchmark, jsonl, questions
from pyarrow import parquet

import agreement
import export_fastchat
import judge
import score
import table1
from fusionchat.errors import UserError
from fusionchat.files import read_jsonl
from fusionchat.mt_bench.scores import fastchat_tables
from fusionchat.scores.benchmark import read_benchmark


def judgment(question, model="m", score=5, turn=1, name="j", **more):
    return {
        "question_id": question,
        "model": model,
        "judge": [name, "single-v1"],
        "user_prompt": "",
        "judgment": "",
        "score": score,
        "turn": turn,
        "tstamp": 0.0,
        **more,
    }


@pytest.fixture
def asked(tmp_path):
    return jsonl(tmp_path / "question.jsonl", questions(8))


def table(tmp_path, asked, *files):
    paths = [str(jsonl(tmp_path / f"{i}.jsonl", records)) for i, records in enumerate(files)]
    output = tmp_path / "scores.parquet"
    score.main(["--judgments", *paths, f"--questions={asked}", f"--output={output}"])
    return parquet.read_table(output).to_pandas()


def complete(**facts):
    return [judgment(q, turn=t, **facts) for q in range(81, 89) for t in (1, 2)]


def test_every_turn_of_every_question_is_a_row(tmp_path, asked):
    rows = table(tmp_path, asked, complete(), complete(model="n", repeat=1))
    assert len(rows) == 32
    assert list(rows.columns) == [
        "model", "seed", "judge", "repeat", "choice", "question_id", "category", "turn", "score",
    ]  # fmt: skip
    assert set(rows.category) == {q["category"] for q in questions(8)}
    assert (rows.score == 5).all()


def test_missing_scores_are_null_and_absent_judgments_are_rows(tmp_path, asked):
    records = complete()
    records[3]["score"] = -1
    del records[7:9]
    rows = table(tmp_path, asked, records)
    assert len(rows) == 16
    missing = rows[rows.score.isna()]
    assert list(zip(missing.question_id, missing.turn, strict=True)) == [(82, 2), (84, 2), (85, 1)]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([judgment(81), judgment(81)], r"line 2: .*appears twice, first in .*line 1"),
        ([judgment(7)], "line 1: question 7 is not in the questions file"),
        ([{"question_id": 81}], "not a judgment record"),
        ([judgment(81, score=None)], "question 81: score is None"),
        ([judgment(81, score="7")], "question 81: score is '7'"),
        ([judgment(81, score=float("nan"))], "question 81: score is nan"),
        ([judgment(81), judgment(82, score=85)], "line 2: question 82: score is 85, not a number"),
        ([judgment(81, score=-3)], "line 1: question 81: score is -3"),
        ([judgment(81, model="")], "line 1: model is '', not a name"),
        ([judgment(81, name=" ")], "line 1: judge is"),
        ([judgment(81, repeat=1 << 40)], "line 1: repeat is 1099511627776, not a whole number"),
        ([judgment(81, turn=True)], "line 1: turn is True"),
        ([judgment(81, turn=1.0)], "line 1: turn is 1.0"),
        ([judgment(81, score=0)], "score is 0, not a number from 1 to 10"),
        ([judgment(81, score=True)], "score is True"),
        ([judgment(81, turn=3)], "question 81 has 2 turns, and this is turn 3"),
        ([judgment(81, turn=0)], "this is turn 0"),
        ([judgment(81, turn="1")], "turn is '1', not a whole number"),
        ([judgment(81, choice=1.5)], "choice is 1.5"),
        ([judgment(81) | {"judge": "gpt-4"}], "judge is 'gpt-4', not a list of judge and prompt"),
        ([judgment(81) | {"judge": []}], r"judge is \[\]"),
        ([judgment(81, model=None)], "model is None, not a name"),
    ],
)
def test_wrong_judgment_files_are_explained(tmp_path, asked, records, message):
    with pytest.raises(UserError, match=message):
        table(tmp_path, asked, records)


def test_a_score_of_5000_digits_is_refused_with_its_line(tmp_path, asked):
    path = jsonl(tmp_path / "0.jsonl", complete())
    path.write_text(path.read_text() + json.dumps(judgment(88)).replace(": 5,", f": {'9' * 5000},"))
    output = tmp_path / "scores.parquet"
    with pytest.raises(UserError, match="line 17, is not valid JSON"):
        score.main([f"--judgments={path}", f"--questions={asked}", f"--output={output}"])


def test_questions_of_one_turn_are_rows_beside_those_of_two(tmp_path):
    mixed = [q | {"turns": q["turns"][: 1 + q["question_id"] % 2]} for q in questions(8)]
    asked = jsonl(
        tmp_path / "question.jsonl", [q | {"rules": q["rules"][: len(q["turns"])]} for q in mixed]
    )
    records = [
        judgment(q["question_id"], turn=t + 1) for q in mixed for t in range(len(q["turns"]))
    ]
    rows = table(tmp_path, asked, records)
    assert len(rows) == len(records) == 12
    assert not rows.score.isna().any()
    with pytest.raises(UserError, match="line 13: question 82 has 1 turns, and this is turn 2"):
        table(tmp_path, asked, [*records, judgment(82, turn=2)])


def test_a_question_of_one_turn_is_in_table_1_by_that_turn(tmp_path):
    """Question 81 has one turn; question 82's second turn is not scored, question 83's neither."""
    mixed = [q | {"rules": []} for q in questions(16)]
    mixed[0]["turns"] = mixed[0]["turns"][:1]
    asked = jsonl(tmp_path / "question.jsonl", mixed)
    records = [judgment(81, score=9)]
    records += [judgment(q, turn=t, score=t) for q in range(82, 97) for t in (1, 2)]
    records[2]["score"] = -1
    del records[4]
    table(tmp_path, asked, records, [r | {"model": "n", "score": 5} for r in records])
    benchmark = read_benchmark(tmp_path / "scores.parquet")
    means = benchmark.question_means("m")[:, 0]
    assert means[[0, 3]].tolist() == [9, 1.5]
    assert np.isnan(means).tolist() == [False, True, True, *[False] * 13]
    assert benchmark.missing("m") == 2
    assert np.flatnonzero(np.isnan(benchmark.question_means("m", 2)[:, 0])).tolist() == [0, 1, 2]
    files = [f"--scores={tmp_path / 'scores.parquet'}", f"--output={tmp_path / 't1'}"]
    table1.main([*files, "--row=Target:m:M", "--row=Target:n:N", "--baseline=n"])
    told = (tmp_path / "t1.md").read_text()
    assert "15 questions of 2 turns and 1 of 1 turn;" in told
    with (tmp_path / "t1.csv").open() as stream:
        first = next(csv.DictReader(stream))
    # The first category holds questions 81 and 82.
    assert float(first["writing"]) == 9


def test_a_line_separator_in_a_text_does_not_break_a_record(tmp_path, asked):
    assert len(table(tmp_path, asked, complete(note="a\u2028b\x85c"))) == 16


def test_the_average_pools_both_turns():
    records = [judgment(1, score=10), judgment(2, score=10), judgment(1, turn=2, score=1)]
    tables = fastchat_tables([*records, judgment(2, turn=2, score=-1)])
    assert tables == {"first_turn": [("m", 10)], "second_turn": [("m", 1)], "average": [("m", 7)]}


def test_agreement_of_two_judges_and_of_one_with_itself(tmp_path, asked):
    one = complete(name="a", repeat=0)
    again = complete(name="a", repeat=1)
    other = complete(name="b")
    for i, (x, y, z) in enumerate(zip(one, again, other, strict=True)):
        x["score"] = y["score"] = 1 + i % 8
        z["score"] = x["score"] + (0, 1, 2, 0)[i % 4]
    again[0]["score"] = -1
    table(tmp_path, asked, one, again, other)
    output = tmp_path / "agreement.csv"
    agreement.main([f"--scores={tmp_path / 'scores.parquet'}", f"--output={output}"])
    with output.open() as stream:
        rows = list(csv.DictReader(stream))
    names = [(r["judge_a"], r["repeat_a"], r["judge_b"], r["repeat_b"]) for r in rows]
    assert names == [("a", "0", "a", "1"), ("a", "0", "b", "0"), ("a", "1", "b", "0")]
    itself, others = rows[0], rows[1]
    assert (itself["rated"], itself["missing"]) == ("15", "1")
    assert float(itself["exact"]) == float(itself["spearman"]) == float(itself["kendall"]) == 1
    assert float(others["exact"]) == 0.5
    assert float(others["within_one"]) == 0.75
    assert float(others["mean_difference"]) == -0.75
    assert others["model_spearman"] == ""


def test_constant_ratings_have_no_rank_correlation(tmp_path, asked):
    table(tmp_path, asked, complete(name="a"), complete(name="b"))
    output = tmp_path / "agreement.csv"
    agreement.main([f"--scores={tmp_path / 'scores.parquet'}", f"--output={output}"])
    with output.open() as stream:
        (row,) = csv.DictReader(stream)
    assert (row["exact"], row["spearman"]) == ("1.0", "")


def test_a_single_judge_has_nobody_to_agree_with(tmp_path, asked, caplog):
    table(tmp_path, asked, complete())
    with caplog.at_level("WARNING"):
        agreement.main([f"--scores={tmp_path / 'scores.parquet'}", f"--output={tmp_path / 'x'}"])
    assert "nobody to agree with" in caplog.text
    assert (tmp_path / "x").read_text().startswith("judge_a,repeat_a,judge_b")
    assert len((tmp_path / "x").read_text().splitlines()) == 1


def rule_judged(folder, **more):
    benchmark(folder, 8)
    records = answers("m", 8)
    records[2]["choices"][0]["turns"] = ["It is 2.", "It is nothing."]
    jsonl(folder / "m.jsonl", records)
    judge.main(
        [
            "--judge=rule",
            f"--answers={folder / 'm.jsonl'}",
            f"--questions={folder / 'question.jsonl'}",
            f"--output={folder / 'judged.jsonl'}",
            *(f"--{name}={value}" for name, value in more.items()),
        ]
    )
    return read_jsonl(folder / "judged.jsonl")


def test_the_rule_judge_writes_fastchats_judgments(tmp_path):
    records = rule_judged(tmp_path)
    assert len(records) == 16
    fields = ["question_id", "model", "judge", "user_prompt", "judgment", "score", "turn", "tstamp"]
    assert list(records[0])[:8] == fields
    right, wrong = records[4:6]
    assert (right["score"], right["turn"]) == (10, 1)
    assert right["judgment"].endswith("Rating: [[10]]")
    assert wrong["score"] < 10
    assert rule_judged(tmp_path) == records
    named = rule_judged(tmp_path, **{"judge-name": "checker"})
    assert {r["judge"][0] for r in named} == {"checker"}


def test_the_rule_judge_needs_rules(tmp_path):
    benchmark(tmp_path, 8)
    bare = [{k: v for k, v in q.items() if k != "rules"} for q in questions(8)]
    jsonl(tmp_path / "bare.jsonl", bare)
    jsonl(tmp_path / "m.jsonl", answers("m", 8))
    with pytest.raises(UserError, match="has no rules"):
        judge.main(
            [
                "--judge=rule",
                f"--answers={tmp_path / 'm.jsonl'}",
                f"--questions={tmp_path / 'bare.jsonl'}",
                f"--output={tmp_path / 'judged.jsonl'}",
            ]
        )


@pytest.mark.parametrize(
    "unused",
    [{"judge-model": "x"}, {"rating": "last"}, {"reasoning-effort": "low"}, {"budget-usd": 3}],
)
def test_the_rule_judge_refuses_what_only_an_llm_heeds(tmp_path, unused):
    said = f"^--{next(iter(unused))}: has no effect with --judge rule; leave it out"
    with pytest.raises(UserError, match=said):
        rule_judged(tmp_path, **unused)


def export(folder, *more):
    export_fastchat.main(
        [
            f"--questions={folder / 'question.jsonl'}",
            f"--answers={folder / 'm.jsonl'}",
            f"--output={folder / 'fastchat'}",
            *more,
        ]
    )


def test_the_export_renames_the_judge_and_says_so(tmp_path):
    rule_judged(tmp_path)
    export(tmp_path, f"--judgments={tmp_path / 'judged.jsonl'}")
    data = tmp_path / "fastchat" / "data" / "mt_bench"
    records = read_jsonl(data / "model_judgment" / "gpt-4_single.jsonl")
    assert {r["judge"][0] for r in records} == {"gpt-4"}
    assert {r["judge"][1] for r in records} == {
        "single-v1", "single-math-v1", "single-v1-multi-turn", "single-math-v1-multi-turn",
    }  # fmt: skip
    assert {r["judged_by"] for r in records} == {"rule"}
    assert (data / "question.jsonl").read_bytes() == (tmp_path / "question.jsonl").read_bytes()


def test_the_export_has_the_pairwise_records(tmp_path):
    rule_judged(tmp_path)
    match = {"question_id": 81, "model_1": "org/varm", "model_2": "clm", "turn": 1}
    match |= {"g1_winner": "model_1", "g2_winner": "tie", "judge": ["a/judge", "pair-v2"]}
    match |= {"g1_judgment": "[[A]]", "g2_judgment": "[[C]]", "g1_facts": {}}
    matches = jsonl(tmp_path / "pairs.jsonl", [match])
    export(tmp_path, f"--judgments={tmp_path / 'judged.jsonl'}", f"--matches={matches}")
    judged = tmp_path / "fastchat" / "data" / "mt_bench" / "model_judgment"
    names = {"model_1": "org_varm", "judge": ["gpt-4", "pair-v2"], "judged_by": "a/judge"}
    assert read_jsonl(judged / "gpt-4_pair.jsonl") == [match | names]


def test_the_export_names_what_a_judgment_lacks(tmp_path):
    records = rule_judged(tmp_path)
    bare = [{k: v for k, v in record.items() if k != "judgment"} for record in records]
    lacking = jsonl(tmp_path / "bare.jsonl", bare)
    with pytest.raises(
        UserError, match=r"bare.jsonl, line 1: not a judgment record.*judgment is missing"
    ):
        export(tmp_path, f"--judgments={lacking}")
    assert not (tmp_path / "fastchat").exists()


def test_the_export_counts_no_judgment_twice(tmp_path):
    records = rule_judged(tmp_path)
    again = jsonl(tmp_path / "again.jsonl", records[-1:])
    with pytest.raises(UserError, match=r"again.jsonl, line 1: .* twice, first in .*judged.jsonl"):
        export(tmp_path, "--judgments", str(tmp_path / "judged.jsonl"), str(again))


def test_the_export_needs_one_judge(tmp_path):
    rule_judged(tmp_path)
    other = jsonl(tmp_path / "other.jsonl", complete(name="other"))
    both = ["--judgments", str(tmp_path / "judged.jsonl"), str(other)]
    with pytest.raises(UserError, match=r"several judges \(other, rule\); choose"):
        export(tmp_path, *both)
    with pytest.raises(UserError, match="judgments of other, rule only"):
        export(tmp_path, *both, "--judge=third")
    export(tmp_path, *both, "--judge=other", "--judge-name=a/b")
    judged = tmp_path / "fastchat" / "data" / "mt_bench" / "model_judgment"
    assert {r["judged_by"] for r in read_jsonl(judged / "a_b_single.jsonl")} == {"other"}
