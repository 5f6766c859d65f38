"""The case study: one question, what each model answered, and its ratings."""

import csv
import math
import shutil

import pytest
import report_run
from report_run import PAPER, judged

import case_study
from fusionchat.errors import UserError
from fusionchat.scores.rows import row_argument


def test_case_study(run, tmp_path):
    models = ("clm", "varm")
    answers, judgments = (
        [str(run / f"mt_bench/{kind}/{model}.jsonl") for model in models]
        for kind in ("answers", "judgments/rule")
    )
    words = ["--questions", str(run / "questions.jsonl"), "--answers", *answers]
    words += ["--judgments", *judgments, *report_run.rows(), "--show", *models]
    words += ["--question", "90", "--output", str(tmp_path / "case")]
    case_study.main(words)
    with (tmp_path / "case.csv").open(newline="") as stream:
        records = list(csv.DictReader(stream))
    assert [(r["model"], r["turn"]) for r in records] == [
        (model, turn) for model in models for turn in ("1", "2")
    ]
    assert records[0]["answer"] == "clm says <i>one</i>"
    page = (tmp_path / "case.html").read_text()
    assert "clm says <i>" not in page
    assert "clm says &lt;i&gt;" in page
    scores = [scores for scores in judged(run, "clm").values() if 90 in scores]
    assert [float(r["score"]) for r in records[:2]] == scores[0][90]


def test_a_case_study_is_of_one_file_a_model_and_one_judge(run, tmp_path):
    answers, judgments = (run / f"mt_bench/{k}/clm.jsonl" for k in ("answers", "judgments/rule"))
    again = shutil.copy(answers, tmp_path / "again.jsonl")
    other = tmp_path / "other.jsonl"
    other.write_text(judgments.read_text().replace('"rule"', '"people"'))
    twice = shutil.copy(judgments, tmp_path / "twice.jsonl")
    words = [f"--questions={run / 'questions.jsonl'}", *report_run.rows(), "--show", "clm"]
    words += ["--output", str(tmp_path / "case")]
    for answered, records, more, said in (
        ([answers, again], [judgments], (), "there are answers of clm already"),
        ([answers], [judgments, other], (), r"several judges \(people, rule\); choose"),
        ([answers], [judgments], ("--judge=people",), "holds judgments of rule only"),
        ([answers], [judgments, twice], (), "appears twice, first in .*clm.jsonl, line 1"),
    ):
        files = ["--answers", *map(str, answered), "--judgments", *map(str, records)]
        with pytest.raises(UserError, match=said):
            case_study.main([*words, *files, *more])


def test_case_study_takes_the_papers_question_where_it_is():
    from fusionchat.mt_bench.questions import Question
    from fusionchat.tables.case_study import choose_question

    numbers = {81: "writing", 91: "roleplay", 93: "roleplay"}
    questions = [Question(n, category, ("a",)) for n, category in numbers.items()]
    ratings = {81: [5.0, 5.0], 91: [1.0, 9.0], 93: [2.0, math.nan]}

    def chosen(number=None, printed=()):
        return choose_question(questions, number, lambda q: ratings[q.question_id], printed)

    assert chosen(printed={93}).question_id == 93
    assert chosen().question_id == 91, "the models differ most there, and all are rated"
    assert chosen(81, {93}).question_id == 81
    with pytest.raises(UserError, match="5 is not in the questions file"):
        chosen(5)


def test_case_study_shows_the_papers_ratings(run, tmp_path):
    from fusionchat.mt_bench.questions import Question
    from fusionchat.tables.case_study import ratings_table, read_ratings
    from fusionchat.tables.examples import Answered

    question = Question(93, "roleplay", ("a", "b"))
    rows = [row_argument("Source:mixtral:NH2-Mixtral"), row_argument("Target:t:Target:mixtral")]
    answered = {row.name: [Answered("x", "y", 7.0)] * 2 for row in rows}
    paper = read_ratings(PAPER / "case_study.csv", question)
    (source, target) = ratings_table(question, rows, answered, paper).rows()
    assert source == ["NH2-Mixtral", "7", "7", "–", "–"]
    assert target == ["Target", "7", "7", "10", "9"]
    ratings = read_ratings(PAPER / "case_study.csv", Question(93, "roleplay", ("a", "b")))
    assert ratings == {"clm": [9, 8], "mixtral": [10, 9], "solar": [9, 9], "varm": [10, 10]}
    assert read_ratings(PAPER / "case_study.csv", Question(1041, "roleplay", ("a",))) == {}
