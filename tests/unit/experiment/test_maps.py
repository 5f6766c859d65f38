"""Maps: places of models by their settings."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from fusionchat.config import checked
from fusionchat.errors import UserError
from fusionchat.experiment import Experiment
from fusionchat.maps import axis_words, point_words, points, settings_of

ROOT = Path(__file__).resolve().parents[3]


def experiment_of(**maps: Any) -> Experiment:
    """The demo with a variant of the mixture, targets at another weight, and these maps."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text()) | {"maps": maps}
    config["data"]["world"]["variants"] = {"bad": {"wrong_answers": 0.75}, "few": {"dialogues": 50}}
    pair = {"sources": ["tiny_solar"], "training": {"clm_weight": 0.25}}
    config["targets"] |= {
        "clm_bad": {"sources": [], "data": "bad"},
        "solar_bad": {"sources": ["tiny_solar"], "data": "bad"},
        "low": pair,
        "low_bad": pair | {"data": "bad"},
        "low_few": pair | {"data": "few"},
    }
    config["merges"] |= {
        "mean_bad": {"method": "linear", "targets": {"low_bad": 1, "solar_bad": 1}}
    }
    return Experiment(checked(config))


def test_settings_are_those_of_target_and_mixture():
    run = experiment_of()
    share, count = run.mixtures[""]["wrong_answers"], 750 - 300
    everything = {"wrong_answers": share, "dialogues": count}
    assert settings_of(run, "solar") == {"clm_weight": 0.9} | everything
    assert settings_of(run, "low_bad") == settings_of(run, "mean_bad")
    assert settings_of(run, "low_bad") == {"clm_weight": 0.25} | everything | {
        "wrong_answers": 0.75
    }
    assert settings_of(run, "low_few")["dialogues"] == 50
    assert settings_of(run, "clm")["clm_weight"] is None


def test_a_baseline_without_sources_stands_at_every_weight():
    models = {
        "CLM": ["clm", "clm_bad"],
        "Target SOLAR": ["low", "solar", "low_bad"],
        "Mean": ["mean_bad"],
    }
    run = experiment_of(
        two={"x": "clm_weight", "y": "wrong_answers", "models": models, "controls": ["CLM"]}
    )
    share = run.mixtures[""]["wrong_answers"]
    assert points(run, "two") == {
        (0.25, share): {"CLM": "clm", "Target SOLAR": "low"},
        (0.25, 0.75): {"CLM": "clm_bad", "Target SOLAR": "low_bad", "Mean": "mean_bad"},
        (0.9, share): {"CLM": "clm", "Target SOLAR": "solar"},
    }
    words = point_words(run, "two")
    assert "0.25:0.75:CLM=clm_bad,Target SOLAR=low_bad,Mean=mean_bad" in words
    assert axis_words(run, "two") == ["--x", "CLM weight", "--y", "share of wrong answers"]


def test_a_curve_has_one_axis():
    models = {"Self": ["low", "low_few"], "Target": ["low", "low_few"]}
    run = experiment_of(curve={"x": "dialogues", "models": models, "controls": ["Self"]})
    assert list(points(run, "curve")) == [(50,), (450,)]
    assert "50:0:Self=low_few,Target=low_few" in point_words(run, "curve")
    assert axis_words(run, "curve") == ["--x", "training dialogues"]


def test_an_ambiguous_or_empty_place_is_named():
    one = {"x": "dialogues", "models": {"A": ["solar", "low"], "B": ["solar"]}, "controls": ["B"]}
    with pytest.raises(UserError, match=r"maps\.m\.models\.A: solar and low differ in neither"):
        points(experiment_of(m=one), "m")
    one = {"x": "clm_weight", "models": {"A": ["solar", "low"], "B": ["solar"]}, "controls": ["B"]}
    with pytest.raises(UserError, match=r"maps\.m: no model of B has clm_weight 0\.25"):
        points(experiment_of(m=one), "m")
    one["models"] = {"A": ["nobody"], "B": ["solar"]}
    with pytest.raises(UserError, match=r"maps\.m\.models\.A: 'nobody' is not one of"):
        experiment_of(m=one)
    one["models"] = {"A": ["low"], "B": ["solar"]}
    with pytest.raises(UserError, match=r"maps\.m\.controls: 'C' is not one of A, B"):
        experiment_of(m=one | {"controls": ["C"]})
