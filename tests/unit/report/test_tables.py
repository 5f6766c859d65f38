"""Tables 1 and 2, the verdicts, and their files."""

import csv
import dataclasses
import json
import math
import os
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import report_run
from scipy import stats

import case_study
import memory_efficiency
import table1
import table2
from fusionchat.categories import CATEGORIES
from fusionchat.errors import UserError
from fusionchat.merging import variation
from fusionchat.merging.methods import varm
from fusionchat.scores import verdicts
from fusionchat.scores.benchmark import read_benchmark
from fusionchat.scores.equal_changes import equal_changes
from fusionchat.scores.paper import read_paper
from fusionchat.scores.rows import row_argument
from fusionchat.scores.teachers import Share, idle_note
from fusionchat.tables.table import Table, escape, fixed, html_table, latex, markdown, span

DIFFERENCE = {
    f"difference{part}" for part in ("", "_error", "_low", "_high", "_p", "_p_holm", "_detectable")
} | {"questions_needed"}
PAPER = Path(__file__).resolve().parents[3] / "resources" / "paper"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return report_run.make_run(tmp_path_factory.mktemp("run"))


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return {record["model"]: record for record in csv.DictReader(stream)}


@pytest.fixture(scope="module")
def first(run):
    """Table 1 of the run, with signs beside the paper."""
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


def judged(run, model):
    """Scores by category and question, straight from the judgment records."""
    categories = {}
    for line in (run / "questions.jsonl").read_text().splitlines():
        record = json.loads(line)
        categories[record["question_id"]] = record["category"]
    scores = defaultdict(lambda: defaultdict(list))
    for line in (run / f"mt_bench/judgments/rule/{model}.jsonl").read_text().splitlines():
        record = json.loads(line)
        scores[categories[record["question_id"]]][record["question_id"]].append(record["score"])
    return scores


def recomputed(run, model):
    """Category means and their mean; a question without both turns does not count."""
    means = {}
    for category, questions in judged(run, model).items():
        complete = [sum(s) / len(s) for s in questions.values() if min(s) > 0]
        means[category] = sum(complete) / len(complete)
    means["average"] = sum(means[c] for c in CATEGORIES) / len(CATEGORIES)
    return means


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


GROUPS = {"G_1": [["x|y <z>", "1"]], "": [["b", "2"]]}
SMALL = Table("A: a|b & c", ["Model", "50%|50%"], GROUPS, ["n_1"])


def test_markdown_keeps_its_columns():
    lines = [line for line in markdown(SMALL).splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert "x\\|y" in markdown(SMALL)


def test_html_escapes_everything():
    text = html_table(SMALL)
    assert "<z>" not in text
    assert "&lt;z&gt;" in text
    assert text.count("<tr") == text.count("</tr>")


def test_latex_escapes_everything():
    text = latex(SMALL, "tab:x")
    assert r"G\_1" in text
    assert r"50\%" in text
    assert escape("−±–") == r"$-$$\pm$--"
    assert re.search(r"(?<!\\)[%#]", text) is None


def test_latex_compiles(first, tmp_path):
    if shutil.which("pdflatex") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "pdflatex is not installed"
        )
    (tmp_path / "page.tex").write_text(
        "\\documentclass{article}\\usepackage[utf8]{inputenc}\\usepackage{booktabs}"
        f"\\begin{{document}}\\input{{{first / 'table1.tex'}}}\\end{{document}}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


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


def test_a_row_of_the_paper_stands_once(tmp_path):
    lines = (PAPER / "table2.csv").read_text().splitlines()
    (tmp_path / "paper.csv").write_text("\n".join([*lines, lines[1]]))
    with pytest.raises(UserError, match=r"paper\.csv: the row varm_model is there twice"):
        read_paper(tmp_path / "paper.csv")


def test_a_case_study_is_of_one_file_a_model_and_one_judge(run, tmp_path):
    answers, judgments = (run / f"mt_bench/{k}/clm.jsonl" for k in ("answers", "judgments/rule"))
    again = shutil.copy(answers, tmp_path / "again.jsonl")
    other = tmp_path / "other.jsonl"
    other.write_text(judgments.read_text().replace('"rule"', '"people"'))
    twice = shutil.copy(judgments, tmp_path / "twice.jsonl")
    words = [f"--questions={run / 'questions.jsonl'}", *report_run.rows(), "--show", "clm"]
    words += ["--output", str(tmp_path / "case")]
    for answered, judged, more, said in (
        ([answers, again], [judgments], (), "there are answers of clm already"),
        ([answers], [judgments, other], (), r"several judges \(people, rule\); choose"),
        ([answers], [judgments], ("--judge=people",), "holds judgments of rule only"),
        ([answers], [judgments, twice], (), "appears twice, first in .*clm.jsonl, line 1"),
    ):
        files = ["--answers", *map(str, answered), "--judgments", *map(str, judged)]
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


@pytest.fixture(scope="module")
def tiny_models(tmp_path_factory):
    from transformers import MistralConfig, MistralForCausalLM, MixtralConfig, MixtralForCausalLM

    folder = tmp_path_factory.mktemp("models")
    shape = {
        "vocab_size": 32,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 64,
    }
    dense = MistralForCausalLM(MistralConfig(**shape))
    mixture = MixtralForCausalLM(MixtralConfig(**shape, num_local_experts=4, num_experts_per_tok=2))
    dense.save_pretrained(folder / "dense")
    mixture.save_pretrained(folder / "mixture")
    counts = {"dense": dense.num_parameters(), "mixture": mixture.num_parameters()}
    return folder, counts


def test_memory_efficiency(tiny_models, tmp_path):
    folder, counts = tiny_models
    words = [*report_run.rows(), "--fused", f"varm={folder / 'dense'}", "--dtype", "float32"]
    words += ["--source", f"tiny_openchat={folder / 'dense'}", f"tiny_solar={folder / 'mixture'}"]
    words += [
        "--batch",
        "2",
        "--prompt",
        "4",
        "--tokens",
        "4",
        "--output",
        str(tmp_path / "memory"),
    ]
    memory_efficiency.main(words)
    records = read_csv(tmp_path / "memory.csv")
    assert int(records["varm"]["parameters"]) == counts["dense"]
    assert int(records["tiny_solar"]["parameters"]) == counts["mixture"]
    experts = 2 * 4 * 3 * 16 * 16
    assert int(records["tiny_solar"]["active"]) == counts["mixture"] - experts // 2
    assert int(records["all_sources"]["parameters"]) == sum(counts.values())
    assert int(records["varm"]["weights"]) == 4 * counts["dense"]
    assert int(records["varm"]["cache"]) == 2 * 2 * 1 * 8 * 4
    slowest = min(float(records[name]["speed"]) for name in ("tiny_openchat", "tiny_solar"))
    assert 0 < float(records["all_sources"]["speed"]) < slowest
