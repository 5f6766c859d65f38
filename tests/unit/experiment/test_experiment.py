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
    return Experiment(checked(config))


def demo_targets(**more: Any) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config.yaml").read_text())["targets"] | more


TARGETS = ["clm", "self", "multi", "mixtral", "solar"]
TARGETS += ["self_10", "multi_10", "mixtral_10", "solar_10"]


def test_names_of_the_demo():
    demo = experiment_of()
    assert demo.pivot == "tiny_openchat"
    assert demo.sources == ["tiny_mixtral", "tiny_solar"]
    assert demo.shards == ["0000"]
    assert [name for name in demo.trained if "-seed" not in name] == TARGETS
    assert len(demo.trained) == 3 * len(TARGETS)
    assert demo.taught == TARGETS[1:]
    assert demo.baseline == "clm"
    assert demo.main == "varm"
    assert demo.claimed == ["varm", "varm_10"]
    assert demo.granularities == ["varm_model", "varm_layer", "varm", "varm_parameter"]
    assert demo.rated == [*demo.source_llms, *demo.targets, *demo.merges]
    assert demo.measured == demo.evaluated
    assert demo.shown == [*demo.source_llms, "clm", "varm"]
    assert (demo.judge, demo.judge_model, demo.raters) == ("rule", "rule", 1)
    assert demo.generated


def test_every_model_reads_dialogues_in_the_runs_format_and_answers_in_its_own():
    models = yaml.safe_load((ROOT / "config.yaml").read_text())["models"]
    models["tiny_solar"] |= {"template": "zephyr", "end_of_turn": "<|im_end|>"}
    run = experiment_of(models=models, system_message="Be brief.", end_of_turn="<eot>")
    fixed = {"template": "openchat_3.5", "system_message": "Be brief.", "special_text": "text"}
    for name in ("tiny_openchat", "clm", "varm"):
        assert run.rendering(name) == run.answer_rendering(name) == fixed | {"end_of_turn": "<eot>"}
    assert run.rendering("tiny_mixtral") == run.answer_rendering("tiny_mixtral") == fixed
    assert run.rendering("tiny_solar") == fixed | {"end_of_turn": "<|im_end|>"}
    assert run.answer_rendering("tiny_solar") == {
        "template": "zephyr",
        "end_of_turn": "<|im_end|>",
        "special_text": "text",
    }


def test_the_pivots_chat_template_is_read_by_all_and_answers_are_in_each_models_own():
    run = experiment_of(template="tokenizer")
    pivot = {"template": "tokenizer", "special_text": "text"}
    assert run.rendering("tiny_openchat") == run.answer_rendering("tiny_solar") == pivot
    folder = "results/demo/models/tiny_openchat"
    for name in ("tiny_solar", "clm", "varm"):
        assert run.rendering(name) == pivot | {"template_model": folder}
        assert run.rendering_files(run.rendering(name)) == [f"{folder}/manifest.json"]
    assert run.rendering_files(pivot) == []
    assert run.rendering_files({"template": "own.jinja"}) == ["own.jinja"]


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
    templates = [run.answer_rendering(name)["template"] for name in ("yi", "openchat")]
    assert templates == ["tokenizer", "openchat_3.5"]
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


@pytest.mark.parametrize("name", ["config.yaml", "configs/released.yaml", "configs/ablations.yaml"])
def test_every_figure_of_the_report_can_be_had(name: str):
    run = experiment_of(name)
    assert not run.absent.keys() & {*run.figures, "table2"}


def test_without_targets_the_pivot_is_the_baseline():
    run = experiment_of(targets={}, merges={})
    assert run.baseline == "tiny_openchat"
    assert run.main is None
    assert run.subject == "tiny_openchat"
    assert run.shown == run.source_llms
    assert run.figures == ["scores", "radar", "costs"]
    assert {"table2", "losses", "winners"} < run.absent.keys()


def test_without_varm_the_report_is_about_the_last_model_that_the_run_makes():
    run = experiment_of(merges={})
    assert (run.main, run.subject) == (None, list(run.config["targets"])[-1])
    linear = {"method": "linear", "targets": {"mixtral": 1, "solar": 1}}
    run = experiment_of(merges={"mean": linear})
    assert (run.main, run.subject) == (None, "mean")
    assert not {"figure1", "weights"} & set(run.figures)
    assert {"table2", "memory_efficiency", "figure1", "weights", "claims"} == run.absent.keys()
    assert "method: varm" in run.absent["table2"]


def seeded(seeds: int, **merges: Any) -> Experiment:
    """The demo with training seeds, one target with two of them only, and these merges."""
    demo = yaml.safe_load((ROOT / "config.yaml").read_text())
    training = demo["training"] | {"seeds": seeds}
    targets = demo_targets(other={"sources": ["tiny_solar"], "seeds": 2})
    return experiment_of(training=training, targets=targets, merges=demo["merges"] | merges)


def test_replicates_differ_in_the_seed_alone_and_share_the_teacher():
    run = seeded(3)
    assert [name for name in run.targets if run.targets[name].base == "solar"] == [
        "solar",
        "solar-seed2",
        "solar-seed3",
    ]
    first, third = run.targets["solar"], run.targets["solar-seed3"]
    assert third.training == first.training | {"seed": first.training["seed"] + 2}
    assert run.training_data("solar-seed3") == run.training_data("solar")
    assert run.manifest("solar-seed3") == "results/demo/targets/solar-seed3/manifest.json"
    assert run.taught == [*TARGETS[1:], "other"]
    assert [n for n in run.targets if run.targets[n].base == "other"] == ["other", "other-seed2"]


def test_a_merge_is_made_of_targets_of_the_same_seed_as_often_as_all_have_one():
    run = seeded(3, few={"method": "varm", "targets": {"mixtral": 1, "other": 2}})
    assert run.merges["linear-seed2"].targets == {"mixtral-seed2": 1, "solar-seed2": 2}
    assert [name for name in run.merges if run.merges[name].base == "few"] == ["few", "few-seed2"]
    assert {"linear", "linear-seed2", "linear-seed3"} <= set(run.merged_by("linear"))
    assert run.granularities == experiment_of().granularities  # of other targets: not in Table 2


def test_a_mean_of_replicates_moves_on_and_no_mean_is_made_twice():
    mean = {"method": "linear", "targets": {"clm": 1, "clm-seed2": 1}}
    made = {
        seeds: {
            n: m.targets for n, m in seeded(seeds, mean=mean).merges.items() if m.base == "mean"
        }
        for seeds in (2, 3)
    }
    assert made[2] == {"mean": mean["targets"]}
    assert made[3] == {
        "mean": mean["targets"],
        "mean-seed2": {"clm-seed2": 1, "clm-seed3": 1},
        "mean-seed3": {"clm-seed3": 1, "clm": 1},
    }


def test_the_base_of_slerp_has_the_seed_of_the_merge():
    slerp = {"method": "slerp", "base": "solar", "targets": {"mixtral": 1, "solar": 1}}
    run = seeded(2, slerp=slerp)
    assert run.merges["slerp"].settings["base"] == "solar"
    assert run.merges["slerp-seed2"].settings["base"] == "solar-seed2"


def test_rows_stand_for_all_seeds_and_every_seed_is_rated():
    once, three = experiment_of("configs/paper.yaml"), seeded(3)
    assert once.rows == once.rated
    assert three.rows == [*three.source_llms, *demo_targets(other={}), *three.config["merges"]]
    assert three.rated == three.replicates(three.rows)
    assert three.replicates(["other", "clm"]) == [
        *("clm", "clm-seed2", "clm-seed3"),
        *("other", "other-seed2"),
    ]
    assert three.shown == experiment_of().shown


def test_a_target_may_be_trained_on_a_variant_of_the_mixture():
    variants = {"few": {"dialogues": 40}, "bad": {"wrong_answers": 0.5}}
    data = {"world": {"seed": 1, "mixture": 100, "variants": variants}, "heldout": 20, "shards": 2}
    own = {"sources": ["tiny_solar"], "data": "bad", "seeds": 2}
    run = experiment_of(data=data, targets=demo_targets(other=own))
    assert list(run.mixtures) == ["", "few-", "bad-"]
    assert run.mixtures["few-"]["dialogues"] == 40
    assert (run.mixtures[""]["wrong_answers"], run.mixtures["bad-"]["wrong_answers"]) == (0, 0.5)
    assert run.training_data("other-seed2") == [
        "results/demo/fused/other/bad-0000.parquet",
        "results/demo/fused/other/bad-0001.parquet",
    ]
    assert run.training_data("clm")[0] == "results/demo/dialogues/0000.parquet"


@pytest.mark.parametrize(("device", "gpus"), [("cpu", 0), ("cuda", 1)])
def test_gpus_follow_from_the_device(device, gpus):
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    training = {key: value for key, value in config["training"].items() if key != "gpu"}
    assert experiment_of(device=device, training=training).config["training"]["gpu"] == gpus
    models = config["models"] | {"tiny_mixtral": config["models"]["tiny_mixtral"] | {"gpu": 2}}
    del models["tiny_openchat"]["gpu"]
    here = experiment_of(device=device, models=models)
    assert [here.gpus(name) for name in ("tiny_openchat", "varm", "tiny_mixtral")] == [
        gpus,
        gpus,
        2,
    ]
    given = experiment_of(device=device, training=training | {"gpu": 4, "micro_batch_size": 2})
    assert given.config["training"]["gpu"] == 4


def test_the_sample_is_one_shard_and_never_more_than_the_run_uses():
    run = experiment_of("configs/small.yaml")
    assert run.aligned_shards(".sample") == ["sample.dialogues"]
    assert run.aligned_shards("") == run.shards
    assert run.alignment(".sample") == run.config["alignment"]
    assert (run.limit(""), run.limit("sample.")) == ({"limit": 8000}, {"limit": 200})
    config = yaml.safe_load((ROOT / "configs" / "small.yaml").read_text())
    assert experiment_of("configs/small.yaml", data=config["data"] | {"limit": 50}).limit(
        "sample."
    ) == {"limit": 50}
    assert experiment_of().limit("") == {}


def test_sources_are_dumped_for_the_pivots_tokenizer_on_request():
    demo = experiment_of(logits={"exact_steps": True})
    folder = str(Path(demo.manifest("tiny_openchat")).parent)
    assert demo.step_options("tiny_solar") == {"exact_steps_for": folder}
    assert demo.step_options("tiny_openchat") == {}, "the pivot is not transferred"
    assert experiment_of().step_options("tiny_solar") == {}
