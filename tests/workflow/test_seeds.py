"""Training seeds, the Self control and variants of the mixture, through the whole workflow."""

import torch
from safetensors.torch import load_file
from test_reruns import TABLES, edit_config, evaluation

from fusionchat.dialogues.dialogue import read_dialogues
from fusionchat.files import read_json
from fusionchat.readers.parquet import read_table


def weights(project, name):
    return load_file(project.results / name / "model.safetensors")


def test_a_replicate_differs_in_its_seed_and_is_rated_as_its_model(finished):
    runs = [
        read_json(finished.results / "targets" / name / "manifest.json")["run"]
        for name in ("clm", "clm-seed2")
    ]
    assert [run["seed"] for run in runs] == [42, 43]
    assert {key for key in runs[0] if runs[0][key] != runs[1][key]} == {"seed"}
    scores = read_table(finished.results / "mt_bench" / "scores.parquet", maker="score").to_pylist()
    seeds = {(row["model"], row["seed"]) for row in scores}
    assert {("clm", 1), ("clm", 2), ("clm_mean", 1), ("varm", 1)} <= seeds
    assert not any("-seed" in model for model, _ in seeds)


def test_the_mean_of_two_seeds_is_made_of_both(finished):
    mean, one, two = (
        weights(finished, name) for name in ("merged/clm_mean", "targets/clm", "targets/clm-seed2")
    )
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor, (one[name] + two[name]) / 2)


def test_self_is_taught_by_the_pivot_alone_on_its_own_mixture(finished):
    shards = [finished.results / "fused" / "self" / f"wrong-{i:04d}.parquet" for i in range(2)]
    taught = [row for shard in shards for row in read_table(shard, maker="fuse").to_pylist()]
    assert {row["winner"] for row in taught} == {"pivot"}
    assert {len(row["ces"]) for row in taught} == {1}
    folder = finished.results / "dialogues"
    right, wrong = (
        {
            tuple(prompt for prompt, _ in dialogue.turns): dialogue
            for shard in range(2)
            for dialogue in read_dialogues(folder / f"{mixture}{shard:04d}.parquet")
        }
        for mixture in ("", "wrong-")
    )
    assert right.keys() == wrong.keys()
    assert {row["dialogue_id"] for row in taught} == {d.dialogue_id for d in wrong.values()}
    changed = sum(right[prompts] != wrong[prompts] for prompts in right)
    assert abs(changed - 0.7 * len(right)) < 2  # a category's odd one has none to exchange with
    assert read_dialogues(folder / "heldout.parquet") == read_dialogues(
        folder / "wrong-heldout.parquet"
    )


def test_one_more_seed_trains_it_alone_and_the_merges_that_it_completes(project):
    def change(config):
        config["targets"]["from_moe"]["seeds"] = config["targets"]["from_deep"]["seeds"] = 2

    edit_config(project.folder, change)
    assert project.planned("table1") == {
        "train_target": 2,
        "measure_variation": 2,
        "merge_linear": 1,
        "merge_mergekit": 1,
        "merge_varm": 2,
        **evaluation(6),
        **TABLES,
    }


def test_agreement_of_a_judge_that_is_asked_once_says_so_and_succeeds(project):
    run = project.snakemake("--cores", "1", "agreement")
    assert run.returncode == 0, run.stderr
    assert "one judge, asked once, has nobody to agree with" in run.stdout + run.stderr
