"""What a finished run shows: on the screen, in the README, and beside other models."""

import csv
import datetime
import json

import pytest
import report_run

import claims
import figure_scores
import show_results
import table1
import update_readme
from fusionchat.errors import UserError
from fusionchat.page import run_facts
from fusionchat.page.run_facts import origin_table

CLAIMS = ["--claim", "fusion:varm:clm", "--claim", "weights:varm:linear"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with its claims, Table 1 and the two figures of the README."""
    run = report_run.make_run(tmp_path_factory.mktemp("run"))
    scores = ["--scores", str(run / "mt_bench/scores.parquet"), *report_run.rows()]
    table1.main(
        [*scores, "--baseline", "clm", "--subject", "varm", "--output", str(run / "tables/table1")]
    )
    nll = [str(path) for path in sorted((run / "nll").glob("*.json"))]
    files = ["--output", str(run / "tables/claims"), "--figure", str(run / "figures/claims")]
    claims.main([*scores, *CLAIMS, "--nll", *nll, *files])
    figure_scores.main([*scores, "--baseline", "clm", "--output", str(run / "figures/scores")])
    (run / "report.html").write_text(page_of("0123456789ab", "2026-01-31"))
    return run


def page_of(commit, date):
    """A page that was made by another commit on another day."""
    text = origin_table({}).replace(run_facts.commit(), commit)
    return text.replace(datetime.date.today().isoformat(), date)


def test_the_subject_is_paired_with_every_source_llm(run):
    """The differences, straight from the judgment records."""
    ratings: dict[str, dict[tuple[int, int], float]] = {}
    for path in (run / "mt_bench/judgments" / report_run.JUDGE).glob("*.jsonl"):
        for record in map(json.loads, path.read_text().splitlines()):
            if record["score"] >= 0:
                key = (record["question_id"], record["turn"])
                ratings.setdefault(record["model"], {})[key] = record["score"]
    with (run / "tables/table1.csv").open(newline="", encoding="utf-8") as stream:
        table = {record["model"]: record for record in csv.DictReader(stream)}
    for name, record in table.items():
        if report_run.group(name) != "Source":
            assert record["subject_minus"] == ""
            continue
        both = ratings["varm"].keys() & ratings[name].keys()
        questions: dict[int, list[float]] = {}
        for question, turn in both:
            difference = ratings["varm"][question, turn] - ratings[name][question, turn]
            questions.setdefault(question, []).append(difference)
        means = [sum(turns) / len(turns) for turns in questions.values()]
        assert float(record["subject_minus"]) == pytest.approx(sum(means) / len(means))
        assert float(record["subject_minus_p_holm"]) >= float(record["subject_minus_p"])
    text = (run / "tables/table1.md").read_text(encoding="utf-8")
    assert "beside other models" in text


def test_the_screen_shows_claims_before_the_table(run, capsys):
    show_results.main(["--run", str(run)])
    shown = capsys.readouterr().out
    assert shown.index("Claims and controls") < shown.index("Table 1")
    assert str(run / "report.html") in shown


def test_a_run_without_a_table_is_named(tmp_path):
    with pytest.raises(UserError, match=r"table1\.md does not exist.*snakemake table1"):
        show_results.main(["--run", str(tmp_path)])


def readme(folder, text="Before.\n{begin}\nEARLIER RESULTS\n{end}\nAfter.\n"):
    path = folder / "README.md"
    path.write_text(text.format(begin=update_readme.BEGIN, end=update_readme.END))
    return path


def test_the_readme_takes_a_runs_results_and_says_where_they_come_from(run, tmp_path):
    path = readme(tmp_path)
    words = ["--run", str(run), "--readme", str(path), "--images", str(tmp_path / "images")]
    update_readme.main(words)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("Before.\n")
    assert text.endswith("After.\n")
    assert "EARLIER" not in text
    for name in ("claims", "scores"):
        image = tmp_path / "images" / f"{name}.png"
        assert image.read_bytes() == (run / "figures" / f"{name}.png").read_bytes()
        assert f"]({image.as_posix()})" in text
    assert "at commit 0123456789ab on 2026-01-31" in text
    update_readme.main(words)
    assert path.read_text(encoding="utf-8") == text


def test_a_readme_without_its_markers_stays_as_it_is(run, tmp_path):
    path = readme(tmp_path, "Before.\n{begin}\n")
    with pytest.raises(UserError, match="must each stand there once"):
        update_readme.main(["--run", str(run), "--readme", str(path), "--images", str(tmp_path)])
    assert path.read_text() == f"Before.\n{update_readme.BEGIN}\n"


def test_a_run_whose_page_names_no_commit_is_not_taken(run, tmp_path):
    page = tmp_path / "report.html"
    page.write_text("<p>nothing</p>")
    with pytest.raises(UserError, match=r"report\.html names no commit"):
        run_facts.made_by(page)


def test_an_unfinished_run_is_not_taken(tmp_path):
    with pytest.raises(UserError, match="no finished demo"):
        update_readme.main(["--run", str(tmp_path), "--readme", str(readme(tmp_path))])


def test_the_picture_of_the_claims_says_in_words_what_it_shows(run):
    text = (run / "figures/claims.svg").read_text(encoding="utf-8")
    assert "Paired differences of each claim from its control. Rating: " in text
    assert "NLL/byte: " in text
