"""The alignment's report: what was lost, and which files it refuses."""

import json

import numpy as np
import pytest
from alignment_stage import DIALOGUES, Stage

from fusionchat.alignment.aligned_store import kept_mass
from fusionchat.alignment.transfer.tables import Transferred
from fusionchat.dialogues.dialogue import Dialogue, write_dialogues
from fusionchat.errors import UserError
from fusionchat.logits.store import read_logits


def test_report_says_what_was_lost(tmp_path):
    stage = Stage(tmp_path)
    made = stage.all()
    numbers = tmp_path / "report.json"
    figure = tmp_path / "figure.svg"
    text = stage.report(made, "--json", str(numbers), "--figure", str(figure))
    values = json.loads(numbers.read_text())
    assert sum(values["rates"].values()) == pytest.approx(1.0)
    assert 0 < values["mass_kept"] < 1
    assert values["dialogues"] == len(DIALOGUES)
    assert 0 < len(values["costly_tokens"]) <= 20
    for ranked in ("costly_tokens", "worst_dialogues"):
        lost = [row["bytes_lost"] for row in values[ranked]]
        assert lost == sorted(lost, reverse=True)
        assert lost[0] > 0
    assert f"{values['mass_kept']:.2%}" in text
    assert all(f"### {row['dialogue_id']}:" in text for row in values["worst_dialogues"])
    assert "| pivot | source |" in text
    first = figure.read_bytes()
    stage.report(made, "--figure", str(figure))
    assert figure.read_bytes() == first, "equal work gives equal bytes"


def test_report_compares_the_models_by_category(tmp_path, caplog):
    stage = Stage(tmp_path)
    made = stage.all()
    names = [row.dialogue_id for row in read_logits(made[-1])]
    rows = [Dialogue(n, (("a", "b"),), "math" if i % 2 else "coding") for i, n in enumerate(names)]
    write_dialogues(tmp_path / "dialogues", rows)
    numbers = tmp_path / "report.json"
    options = ["--dialogues", str(tmp_path / "dialogues"), "--json", str(numbers)]
    text = stage.report(made, *options)
    values = json.loads(numbers.read_text())
    assert list(values["categories"]) == ["coding", "math"]
    for fact in ("dialogues", "wins"):
        total = sum(one[fact] for one in values["categories"].values())
        assert total == values["contest"][fact]
    assert "| math | 4 |" in text


def test_report_of_equal_tokenizers_has_nothing_to_complain_of(tmp_path):
    stage = Stage(tmp_path, "A", "A")
    made = stage.all()
    text = stage.report(made, "--min-mass", "1")
    assert "None lost anything." in text


def test_what_one_row_knows_beyond_its_list_makes_up_for_no_other_row():
    rows = Transferred.empty(2, 1)._replace(
        mass_in=np.array([0.5, 0.5]), mass_out=np.array([0.9, 0.1])
    )
    assert kept_mass(rows) == 0.6


def test_too_little_kept_stops_and_the_report_is_in_the_log(tmp_path, caplog):
    stage = Stage(tmp_path)
    made = stage.all()
    caplog.set_level("INFO")
    with pytest.raises(UserError, match="min_mass"):
        stage.report(made, "--min-mass", "0.99")
    assert "## Dialogues that lost most" in caplog.text


def test_report_of_other_files_stops(tmp_path, capsys):
    stage = Stage(tmp_path)
    stores, spans, vocabulary, aligned = stage.all()
    with pytest.raises(UserError, match=r"has no column .*one_to_one"):
        stage.report((stores, spans, vocabulary, stores[1][1]))
    with pytest.raises(SystemExit):
        stage.report((stores, spans, vocabulary, aligned), "--figure", "figure.gif2")
    assert "does not end in .svg or .png" in capsys.readouterr().err
