"""What follows from a configuration: names, settings, files."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from fusionchat.config import checked
from fusionchat.experiment import Experiment

ROOT = Path(__file__).resolve().parents[3]


def experiment_of(name: str = "config.yaml", **changes: Any) -> Experiment:
    config = yaml.safe_load((ROOT / name).read_text()) | changes
    return Experiment(checked(config, ROOT / "schemas" / "config.schema.yaml"))


def demo_targets(**more: Any) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config.yaml").read_text())["targets"] | more


def test_names_of_the_demo():
    demo = experiment_of()
    assert demo.pivot == "tiny_openchat"
    assert demo.sources == ["tiny_mixtral", "tiny_solar"]
    assert demo.shards == ["0000"]
    assert demo.trained == ["clm", "multi", "mixtral", "solar"]
    assert demo.taught == ["multi", "mixtral", "solar"]
    assert demo.baseline == "clm"
    assert demo.main == "varm"
    assert demo.granularities == ["varm_model", "varm_layer", "varm", "varm_parameter"]
    assert demo.rated == [*demo.source_llms, *demo.targets, *demo.merges]
    assert demo.measured == demo.evaluated
    assert demo.shown == [*demo.source_llms, "clm", "varm"]
    assert (demo.judge, demo.judge_model, demo.raters) == ("rule", "rule", 1)
    assert demo.generated


def test_released_checkpoints_are_neither_trained_nor_merged():
    run = experiment_of("configs/released.yaml")
    assert run.trained == run.taught == run.measured == []
    assert run.released["target_solar"] == {"repo": "FuseAI/OpenChat-3.5-7B-Solar"}
    assert not {"released_varm", "released_ta"} & set(run.merged)
    assert run.merged_by("varm") == ["varm_model", "varm_layer", "varm", "varm_parameter"]
    assert run.baseline == "openchat"
    assert {"winners", "cross_entropy", "alignment", "losses"}.isdisjoint(run.figures)
    assert run.compared == {}  # the paper's numbers are printed, not rated


def test_compared_models_run_here_or_elsewhere():
    run = experiment_of("configs/paper.yaml")
    assert list(run.elsewhere) == ["gpt4", "gpt35", "claude1"]
    assert list(run.models) == [*run.source_llms, "mixtral_instruct", "yi", "starling"]
    assert set(run.answering) == set(run.rated) - set(run.elsewhere)
    assert run.manifest("yi") == "results/paper/models/yi/manifest.json"
    assert run.manifest("clm") == "results/paper/targets/clm/manifest.json"
    assert run.manifest("ties") == "results/paper/merged/ties/manifest.json"
    assert (run.gpus("mixtral"), run.gpus("varm")) == (4, 1)
    assert (run.template("yi"), run.template("openchat")) == ("tokenizer", "openchat_3.5")
    assert run.judge_model == "Qwen/Qwen2.5-72B-Instruct"
    assert run.raters == 2
    assert run.questions == "results/paper/mt_bench/questions/question.jsonl"


def test_a_target_does_its_own_steps_otherwise():
    own = {"sources": ["tiny_solar"], "training": {"seed": 7}, "fusion": {"top_k": 3}}
    run = experiment_of(targets=demo_targets(other=own))
    other, solar = run.targets["other"], run.targets["solar"]
    assert other.training == solar.training | {"seed": 7}
    assert other.fusion == solar.fusion | {"top_k": 3}
    assert other.alignment == run.config["alignment"]


def test_a_targets_own_alignment_is_kept_apart():
    own = {"sources": ["tiny_solar", "tiny_mixtral"], "alignment": {"method": "dtw"}}
    run = experiment_of(targets=demo_targets(other=own))
    assert run.variants == ["@other"]
    assert run.aligned("other") == ["tiny_solar@other", "tiny_mixtral@other"]
    assert run.aligned("multi") == ["tiny_mixtral", "tiny_solar"]
    assert run.alignment("@other")["method"] == "dtw"
    assert run.alignment("")["method"] == "spans"


def test_a_target_without_sources_is_trained_on_dialogues():
    run = experiment_of("configs/rehearsal.yaml")
    assert run.training_data("clm") == [
        f"results/rehearsal/dialogues/000{n}.parquet" for n in range(4)
    ]
    assert run.training_data("multi")[0] == "results/rehearsal/fused/multi/0000.parquet"
    assert run.merge_inputs("ties") == [
        "results/rehearsal/targets/target_mixtral/manifest.json",
        "results/rehearsal/targets/target_solar/manifest.json",
    ]


@pytest.mark.parametrize(
    "name", ["config", *(f"configs/{p.stem}" for p in ROOT.glob("configs/*.yaml"))]
)
def test_every_name_has_a_place_of_its_own(name: str):
    run = experiment_of(f"{name}.yaml")
    places = [run.manifest(one) for one in run.answering]
    assert len(set(places)) == len(places)
    assert set(run.merged) | set(run.released) >= set(run.merges)


def test_without_targets_the_pivot_is_the_baseline():
    run = experiment_of(targets={}, merges={})
    assert run.baseline == "tiny_openchat"
    assert run.main is None
    assert run.figures == ["scores", "radar", "figure1", "costs"]
