"""What a plan assumes of batches, memory and machines."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from plans import ROOT, by_rule, make_plan

from fusionchat.cluster import fitting
from fusionchat.cluster.costs import calibrate, lengths, memory
from fusionchat.cluster.costs.rates import choose_machine, read_rates
from fusionchat.cluster.costs.sizes import Size, typical_size
from fusionchat.errors import UserError


@pytest.mark.parametrize("batching", ["padded", "packed"])
@pytest.mark.parametrize(
    ("count", "batch", "micro", "processes"), [(200, 32, 4, 2), (7, 16, 2, 2), (64, 64, 4, 8)]
)
def test_batches_are_those_of_the_trainings_sampler(batching, count, batch, micro, processes):
    import torch

    from fusionchat.training.collator import Collator, Example, GlobalBatchSampler

    sizes = np.random.default_rng(1).integers(1, 100, count // batch * batch or count)
    examples = [Example(np.ones(n, np.int32), np.array([0])) for n in sizes]
    ranks = []
    for rank in range(processes):
        sampler = GlobalBatchSampler(
            sizes, global_batch=batch, micro_batch=micro, rank=rank, world_size=processes
        )
        collate = Collator(0, batching)
        ranks.append(
            [
                collate([examples[i] for i in chosen])["input_ids"].numel() if chosen else 0
                for chosen in sampler
            ]
        )
    steps = torch.tensor(ranks, dtype=torch.float)
    got = lengths.busy_tokens(sizes.astype(float), batch, micro, processes, batching)
    assert got.computed == pytest.approx(float(steps.sum()) / len(sizes), rel=0.03)
    assert got.in_step == pytest.approx(
        float(steps.max(0).values.sum()) * processes / len(sizes), rel=0.03
    )


def test_layers_that_are_spread_over_gpus_do_not_answer_faster():
    models = yaml.safe_load((ROOT / "configs/paper.yaml").read_text())["models"]
    one = by_rule(make_plan("configs/paper.yaml", models=models))["answer"]
    models["solar"]["gpu"] = 4
    four = by_rule(make_plan("configs/paper.yaml", models=models))["answer"]
    assert four.hours == pytest.approx(one.hours)
    assert four.gpu_hours > one.gpu_hours


SMOLLM2 = Size(0.1345, 0.1345, 30, 576, 1536, 192, 49_152)


def test_memory_of_a_cpu_training_is_near_the_measured_one():
    """SmolLM2-135M: 3.55 GB, measured with 4 dialogues of up to 512 tokens."""
    training = memory.Training(SMOLLM2, "cpu", 1, 4, 512, bf16=False, recomputed=True)
    assert 3.55 / 1.5 < training.host / 1e9 < 3.55 * 1.5


def test_memory_of_a_gpu_follows_batch_length_precision_and_optimizer():
    seven = typical_size(7.24)
    usual = memory.Training(seven, "cuda", 8, 4, 2048, bf16=True, recomputed=True, stage=3)
    for less in (
        replace(usual, micro_batch=1), replace(usual, length=512), replace(usual, processes=16),
        replace(usual, offloaded=True), replace(usual, optimizer="adamw_8bit"),
    ):  # fmt: skip
        assert less.gpu < usual.gpu
    for more in (
        replace(usual, stage=2),
        replace(usual, recomputed=False),
        replace(usual, bf16=False),
    ):
        assert more.gpu > usual.gpu
    assert usual.gpu < 40e9  # the paper's GPUs


def test_what_does_not_fit_a_gpu_is_said_with_the_key_that_changes_it():
    plan = make_plan("configs/paper.yaml")
    lines = fitting.too_large(plan, 24)
    assert lines[0].startswith(
        "GPU memory: training needs 30 GB, 24 GB are there; set micro_batch_size"
    )
    assert any("models.solar.gpu: 2" in line for line in lines)
    assert not fitting.too_large(plan, 80)


def test_rates_may_be_given_in_part_and_are_checked(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("models: {me/mine: {parameters: 3.0, active: 3.0}}")
    assert {"me/mine", "openchat/openchat_3.5"} <= read_rates(own)["models"].keys()
    for text, fault in (
        ("device: {}", "unknown key 'device'"),
        ("devices: [1]", "has no keys below it"),
        ("devices: {cpu: {train: 1e9}}", "'1e9' is not a number"),
        ("devices: {cpu: {train: 0}}", "0 is not a number above 0"),
        ("judge: {seconds: .nan}", "nan is not a number above 0"),
        ("models: {me/mine: {active: 1.0}}", "models.me/mine: the key 'parameters' is missing"),
    ):
        own.write_text(text)
        with pytest.raises(UserError, match=fault):
            read_rates(own)


def test_a_machine_is_chosen_by_name_or_as_it_was_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = read_rates()
    assert choose_machine(table, "cuda", None) == []
    assert "guesses" in choose_machine(table, "cuda", "rtx_4090")[0]
    assert table["devices"]["cuda"]["memory"] == 24
    with pytest.raises(UserError, match=r"--machine x: .*rtx_4090"):
        choose_machine(table, "cuda", "x")
    calibrate.calibrate(typical_size(0.0005), "cpu", 1, 0.3, Path("results/calibration.yaml"))
    assert "measured on" in choose_machine(table, "cpu", None)[0]
    assert table["devices"]["cpu"]["train"] != read_rates()["devices"]["cpu"]["train"]
