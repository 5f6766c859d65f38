"""Tables 1 and 2, the verdicts, and their files."""

import csv
import math
import re

import numpy as np
import pytest
import report_run
from report_run import PAPER, judged, read_csv, recomputed

import table1
import table2
from fusionchat.categories import CATEGORIES
from fusionchat.errors import UserError
from fusionchat.merging.methods import varm
from fusionchat.scores import verdicts
from fusionchat.scores.benchmark import read_benchmark
from fusionchat.scores.equal_changes import equal_changes
from fusionchat.scores.paper import read_paper
from fusionchat.scores.rows import row_argument
from fusionchat.scores.teachers import Share, idle_note
from fusionchat.tables.table import fixed, span


def test_a_source_that_never_teaches_stands_below_the_table(first):
    text = (first / "table1.md").read_text().split("\n### ")[0]
    assert "solar never teaches ta: these targets hold nothing of that model." in text


def test_a_pivot_that_teaches_nothing_is_not_said_to_be_missing_from_its_target():
    shares = [Share("t", "all", "pivot", 0, 0.0), Share("t", "all", "source", 9, 1.0)]
    assert idle_note(shares) == ""


def test_printed_numbers_are_those_of_the_csv(first):
    text = (first / "table1.md").read_text()
    records = read_csv(first / "table1.csv")
    lines = {cells[0]: cells for cells in map(table_cells, text.splitlines()) if len(cells) > 13}
    for model in ("clm", "ta", "varm_model"):
        cells = lines[report_run.LABELS[model]]
        record = records[model]
        expected = [fixed(float(record[name])) for name in (*CATEGORIES, "average")]
        assert cells[1:10] == expected
        assert cells[10] == span(float(record["average_low"]), float(record["average_high"]))


def table_cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_missing_scores_are_counted(first):
    records = read_csv(first / "table1.csv")
    assert records["multi"]["missing_scores"] == "1"
    assert "Missing scores: Multi 1." in (first / "table1.md").read_text()


def test_scale_model_shows_only_signs(first):
    text = (first / "table1.md").read_text()
    assert "Signs beside the paper" in text
    for word in (verdicts.AGREES, verdicts.DIFFERS, verdicts.OTHER_JUDGE):
        assert f" {word} |" not in text


def test_null_controls_and_unmeasured_noise_are_said(first):
    text = re.sub(" +", " ", (first / "table1.md").read_text())
    assert "| TA − Linear | same weights |" in text
    assert "| judge | not measurable |" in text
    assert "| VaRM of CLM, twice | equal changes: uniform weights | 0 |" in text
    assert "largest distance of 2 matrices' weights from 1/2" in text
    assert float(read_csv(first / "table1.csv")["clm"]["varm_twice_deviation"]) == 0


def test_unequal_weights_for_equal_changes_are_seen(run, first, monkeypatch):
    monkeypatch.setattr(varm, "weights", lambda sums, elements: np.array([0.75, 0.25]))
    assert equal_changes("clm", run / "variation.parquet").deviation == 0.25


def test_comparison_rows_are_scored_and_printed_rows_marked_as_the_papers(run, tmp_path):
    words = ["--scores", str(run / "mt_bench/scores.parquet"), "--baseline", "clm"]
    words += ["--row", "Paper:gpt4:GPT-4 (March):gpt-4", "--row", "Comparison:multi:Another"]
    words += report_run.rows(["clm", "ta"])
    paper = ["--paper", str(PAPER / "table1.csv"), "--output", str(tmp_path / "table1")]
    table1.main([*words, *paper])
    text = (tmp_path / "table1.md").read_text()
    lines = [table_cells(line) for line in text.split("\n### ")[0].splitlines()]
    groups = [cells[0] for cells in lines if cells[0].startswith("*")]
    assert groups == ["*Paper*", "*Comparison*", "*Target*", "*Fused*"]
    printed = next(cells for cells in lines if cells[0] == "GPT-4 (March)")
    assert printed[1:10] == "9.65 8.90 9.00 6.80 8.55 9.38 9.70 9.95 8.96".split()
    assert set(printed[10:]) == {"–"}
    assert "judge gpt-4-0613); nothing of them was measured here" in text
    records = read_csv(tmp_path / "table1.csv")
    assert (records["gpt4"]["average"], records["gpt4"]["judge"]) == ("8.96", "gpt-4-0613")
    assert records["multi"]["difference"] == ""
    assert float(records["multi"]["average"]) == pytest.approx(recomputed(run, "multi")["average"])
    with pytest.raises(UserError, match="give its csv with --paper"):
        table1.main([*words, "--output", str(tmp_path / "table1")])
    with pytest.raises(UserError, match="the paper has no row gpt9"):
        table1.main([*words, *paper, "--row", "Paper:gpt9:GPT-9"])


@pytest.mark.parametrize("model", [None, "gpt-4-0613", "gpt-4-0125-preview"])
def test_verdicts_for_the_papers_own_models(run, tmp_path, model):
    """The paper's judge is known by its model, whatever name a run gives it."""
    words = ["--scores", str(run / "mt_bench/scores.parquet"), *report_run.rows(), "--baseline"]
    words += ["clm", "--paper", str(PAPER / "table1.csv"), "--compare", "verdicts"]
    words += ["--judge-model", model] if model else []
    table1.main([*words, "--output", str(tmp_path / "table1")])
    text = (tmp_path / "table1.md").read_text()
    section = text.split("### Beside the paper")[1].split("###")[0]
    found = {cells[0]: cells[-1] for cells in map(table_cells, section.splitlines()) if cells[0]}
    assert found["CLM"] == "–"
    assert "8.20" in section
    if model == "gpt-4-0613":
        record = read_csv(tmp_path / "table1.csv")["ta"]
        low, high = (float(record[f"difference_{end}"]) - 0.25 for end in ("low", "high"))
        away = low > 0.2 or high < -0.2
        near = low >= -0.2 and high <= 0.2
        expected = "differs" if away else "agrees" if near else "not resolvable"
        assert found["TA"] == expected
        assert "Judge: rule (gpt-4-0613)." in text
    else:
        assert found["TA"] == verdicts.OTHER_JUDGE


def test_a_source_is_not_compared_with_the_papers_target_of_its_name(run, tmp_path):
    """The paper's Table 1 has a target `mixtral`, and configs a source LLM of that name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(run / "mt_bench/scores.parquet")
    names = {"tiny_mixtral": "mixtral", "mixtral": "target_mixtral"}
    models = [names.get(name, name) for name in table["model"].to_pylist()]
    pq.write_table(table.set_column(0, "model", pa.array(models)), tmp_path / "scores.parquet")
    words = ["--scores", str(tmp_path / "scores.parquet"), "--baseline", "clm"]
    words += ["--row", "Source:mixtral:NH2-Mixtral-8x7B", "--row", "Target:clm:CLM"]
    words += ["--row", "Target:target_mixtral:Target:mixtral", "--paper", str(PAPER / "table1.csv")]
    table1.main([*words, "--output", str(tmp_path / "t")])
    records = read_csv(tmp_path / "t.csv")
    assert records["mixtral"]["paper_average"] == ""
    assert records["target_mixtral"]["paper_average"] == "8.08"
    with pytest.raises(UserError, match="no row mixtral of group Source"):
        table1.main([*words, "--row", "Source:x:X:mixtral", "--output", str(tmp_path / "t")])


def test_table2_by_turn(run, tmp_path):
    words = ["--scores", str(run / "mt_bench/scores.parquet"), "--baseline", "varm"]
    words += report_run.rows(("varm_model", "varm"))
    words += ["--paper", str(PAPER / "table2.csv"), "--output", str(tmp_path / "table2")]
    table2.main(words)
    records = read_csv(tmp_path / "table2.csv")
    for model in ("varm_model", "varm"):
        for turn in (1, 2):
            means = [
                np.mean([scores[turn - 1] for scores in questions.values()])
                for questions in judged(run, model).values()
            ]
            assert float(records[model][f"turn{turn}"]) == pytest.approx(np.mean(means))
    assert float(records["varm"]["paper_average"]) == 8.22


def test_same_run_gives_same_bytes(run, first, tmp_path):
    words = ["--scores", str(run / "mt_bench/scores.parquet"), *report_run.rows(), "--baseline"]
    for name in ("a", "b"):
        table1.main([*words, "clm", "--output", str(tmp_path / name / "table1")])
    for suffix in ("csv", "md", "tex", "html"):
        one, two = ((tmp_path / n / f"table1.{suffix}").read_bytes() for n in ("a", "b"))
        assert one == two


@pytest.mark.parametrize("name", ["table1", "table2"])
def test_paper_numbers_are_consistent(name):
    """Each printed average is the mean of its cells, but for the one error that the paper has."""
    paper = read_paper(PAPER / f"{name}.csv")
    for row, scores in paper.scores.items():
        mean = sum(scores[c] for c in CATEGORIES) / len(CATEGORIES)
        tolerance = 0.04 if row == "gpt-4" else 0.0075
        assert scores["average"] == pytest.approx(mean, abs=tolerance), row
    assert paper.judge == "gpt-4-0613"


def test_paper_figure1_agrees_with_its_table2():
    paper = read_paper(PAPER / "table2.csv")
    with (PAPER / "figure1.csv").open(newline="") as stream:
        for record in csv.DictReader(stream):
            mean = (float(record["turn1"]) + float(record["turn2"])) / 2
            assert mean == pytest.approx(float(record["average"]), abs=0.0076)
            row = row_argument(f"Fused:{record['row']}:{record['label']}")
            assert float(record["average"]) == paper.average(row)


@pytest.mark.parametrize(
    ("low", "high", "same_judge", "expected"),
    [
        (0.10, 0.40, True, verdicts.AGREES),
        (0.05, 0.48, True, verdicts.NOT_RESOLVABLE),
        (0.50, 0.90, True, verdicts.DIFFERS),
        (-0.5, 0.00, True, verdicts.DIFFERS),
        (0.10, 0.40, False, verdicts.OTHER_JUDGE),
        (math.nan, math.nan, True, verdicts.NOT_RESOLVABLE),
    ],
)
def test_verdict_against_a_difference_of_027(low, high, same_judge, expected):
    assert verdicts.against_paper(low, high, 0.27, same_judge=same_judge) == expected


def test_verdict_of_a_row_that_the_paper_lacks():
    assert verdicts.against_paper(0, 1, math.nan, same_judge=True) == verdicts.NO_PAPER


def test_signs():
    assert verdicts.sign(0.1, 0.04) == "+"
    assert verdicts.sign(-0.2, 0.001) == "−"
    assert verdicts.sign(0.1, 0.05) == "?"
    assert verdicts.sign(0.0, math.nan) == "?"
    assert [verdicts.plain_sign(v) for v in (0.2, -0.2, 0.0)] == ["+", "−", "0"]


def test_a_sign_is_settled_after_correction_only(run, tmp_path):
    """The best of many merges may seem better on its own; its sign waits for Holm's correction."""
    words = ["--scores", str(run / "mt_bench/scores.parquet"), *report_run.rows(), "--baseline"]
    words += ["multi", "--paper", str(PAPER / "table1.csv"), "--output", str(tmp_path / "t")]
    table1.main(words)
    text = (tmp_path / "t.md").read_text()
    section = text.split("### Signs beside the paper")[1].split("###")[0]
    signs = {cells[0]: cells[-1] for cells in map(table_cells, section.splitlines()) if cells[0]}
    records = read_csv(tmp_path / "t.csv")
    alone, corrected = (float(records["mixtral"][f"difference_{p}"]) for p in ("p", "p_holm"))
    assert alone < 0.05 < corrected
    assert signs["Mixtral"] == "?"
    assert float(records["ta"]["difference_p_holm"]) < 0.05
    assert signs["TA"] == "+"


def test_numbers_as_text():
    assert fixed(8.225) == "8.23"
    assert fixed(-0.004) == "0.00"
    assert fixed(-0.125, signed=True) == "−0.13"
    assert fixed(math.nan) == "–"
    assert span(math.nan, math.nan) == "no interval"
    assert span(-0.1, 0.25, signed=True) == "−0.10 to +0.25"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--baseline", "absent"], "--baseline: absent is not among the rows"),
        (["--baseline", "clm", "--judge", "gpt"], "holds judgments of rule only"),
        (["--baseline", "clm", "--row", "Fused:clm:Again"], "clm is given twice"),
        (["--baseline", "clm", "--row", "Fused:new:New"], "no scores of new"),
        (["--baseline", "clm", "--row", "Fused:new:New:absent"], "no row absent"),
    ],
)
def test_mistakes_are_named(run, tmp_path, words, message):
    start = ["--scores", str(run / "mt_bench/scores.parquet"), *report_run.rows()]
    start += ["--paper", str(PAPER / "table1.csv"), "--output", str(tmp_path / "t")]
    with pytest.raises(UserError, match=re.escape(message)):
        table1.main([*start, *words])


def test_a_run_of_sources_alone(run, tmp_path):
    words = ["--scores", str(run / "mt_bench/scores.parquet"), "--baseline", "tiny_openchat"]
    words += ["--paper", str(PAPER / "table1.csv"), *report_run.rows(report_run.MODELS[:3])]
    table1.main([*words, "--output", str(tmp_path / "t")])
    text = (tmp_path / "t.md").read_text()
    assert "Tiny Solar" in text
    assert "Paired comparisons" not in text


@pytest.mark.filterwarnings("error")
def test_a_model_without_any_score(run, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(run / "mt_bench/scores.parquet")
    scores = [
        None if model == "ta" else score
        for model, score in zip(table["model"].to_pylist(), table["score"].to_pylist(), strict=True)
    ]
    place = table.column_names.index("score")
    pq.write_table(table.set_column(place, "score", pa.array(scores)), tmp_path / "s.parquet")
    words = ["--scores", str(tmp_path / "s.parquet"), *report_run.rows(), "--baseline", "clm"]
    table1.main([*words, "--output", str(tmp_path / "t")])
    record = read_csv(tmp_path / "t.csv")["ta"]
    assert record["average"] == record["difference"] == record["difference_p_holm"] == ""
    assert record["missing_scores"] == "80"


def test_several_judges_need_a_choice(run, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(run / "mt_bench/scores.parquet")
    other = table.set_column(
        table.schema.names.index("judge"), "judge", pa.array(["other"] * len(table))
    )
    pq.write_table(pa.concat_tables([table, other]), tmp_path / "scores.parquet")
    with pytest.raises(UserError, match="choose with --judge"):
        read_benchmark(tmp_path / "scores.parquet")
    assert read_benchmark(tmp_path / "scores.parquet", "other").judge == "other"


def test_row_argument():
    row = row_argument("Fused:varm:VaRM:varm_paper")
    assert (row.group, row.name, row.label, row.paper) == ("Fused", "varm", "VaRM", "varm_paper")
    assert row_argument("Source:a:A").paper == "a"
    for text in ("varm", "Merged:varm:VaRM", "Fused::VaRM"):
        with pytest.raises(Exception, match=r"GROUP|group"):
            row_argument(text)


def test_a_row_of_the_paper_stands_once(tmp_path):
    lines = (PAPER / "table2.csv").read_text().splitlines()
    (tmp_path / "paper.csv").write_text("\n".join([*lines, lines[1]]))
    with pytest.raises(UserError, match=r"paper\.csv: the row varm_model is there twice"):
        read_paper(tmp_path / "paper.csv")
