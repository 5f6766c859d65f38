"""Where inputs come from: the hub, local folders, committed locks."""

import json

import pytest
from test_experiment import experiment_of

from fusionchat.errors import UserError
from fusionchat.origins import Origins


def test_what_a_run_locks_on_the_hub():
    origins = Origins(experiment_of("configs/paper.yaml"))
    assert list(origins.models) == [
        *("mixtral", "solar", "openchat", "mixtral_instruct", "yi", "starling"),
    ]
    assert set(origins.hub) == {*origins.models, "data-set", "gpt4", "gpt35", "claude1"}
    assert origins.reference("solar") == ["--model", "solar=NousResearch/Nous-Hermes-2-SOLAR-10.7B"]
    assert origins.reference("data-set") == [
        "--data",
        "data-set=FuseAI/FuseChat-Mixture:fusechat_v1_clean_split_2048_filter_wrong.json",
    ]
    assert origins.reference("gpt4") == [
        "--space",
        "gpt4=lmsys/mt-bench:data/mt_bench/model_answer/gpt-4.jsonl",
    ]
    assert origins.published("gpt4") == ["results/paper/mt_bench/published/gpt4.jsonl"]


def test_code_of_a_models_own_is_locked_at_the_commit_that_was_read():
    commit = "0123456789" * 4
    models = experiment_of("configs/paper.yaml").config["models"]
    models["solar"]["remote_code"] = commit
    origins = Origins(experiment_of("configs/paper.yaml", models=models))
    assert origins.reference("solar") == [
        *("--model", f"solar=NousResearch/Nous-Hermes-2-SOLAR-10.7B@{commit}", "--remote-code")
    ]


def test_released_checkpoints_come_from_their_own_repositories():
    origins = Origins(experiment_of("configs/released.yaml"))
    assert origins.reference("released_varm") == [
        "--model",
        "released_varm=FuseAI/FuseChat-7B-VaRM",
    ]


def test_the_demo_fetches_nothing():
    origins = Origins(experiment_of())
    assert origins.models == origins.hub == {}
    assert origins.mixture() == "results/demo/mixtures/mixture.json"


def test_a_committed_lock_takes_precedence(tmp_path, monkeypatch):
    origins = Origins(experiment_of("configs/paper.yaml"))
    monkeypatch.chdir(tmp_path)
    assert origins.lock("solar") == origins.model("solar") == "results/paper/locks/solar.json"
    (tmp_path / "configs").mkdir()
    committed = tmp_path / "configs" / "paper.lock.json"
    committed.write_text(json.dumps({"solar": {}}))
    assert origins.lock("solar") == "configs/paper.lock.json"
    assert origins.lock("mixtral") == "results/paper/locks/mixtral.json"
    committed.write_text("{")
    with pytest.raises(UserError, match=r"paper\.lock\.json"):
        origins.lock("solar")


def test_a_local_model_depends_on_its_configuration(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()
    models = experiment_of().config["models"]
    models["tiny_solar"] = {"path": str(tmp_path)}
    origins = Origins(experiment_of(models=models))
    assert origins.model("tiny_solar") == f"{tmp_path}/config.json"
    assert "tiny_solar" not in origins.hub
