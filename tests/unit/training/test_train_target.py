"""Whole training runs of a tiny model: the same weights however they are split or interrupted.

Each run is a forked child, because the Trainer keeps global state; the imports are paid once.
"""

import dataclasses
import gc
import json
import re
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from training_runs import (
    STEPS,
    Run,
    assert_close,
    gradients,
    record_gradients,
    zero_options,
)
from transformers.models.mistral.modeling_mistral import MistralMLP

import train_target
from fusionchat.errors import UserError
from fusionchat.logits.store import LogitWriter, read_logits
from fusionchat.training import target_folder

ROOT = Path(__file__).resolve().parents[3]


def test_the_target_is_a_float32_model_with_tokenizer_curve_and_manifest(data, reference):
    pivot = load_file(data / "pivot" / "model.safetensors")
    for name, weight in reference.weights().items():
        assert weight.dtype == torch.float32
        assert weight.shape == pivot[name].shape
        assert not torch.equal(weight, weight.bfloat16().float()), f"{name} was rounded to bf16"
    for name in ("config.json", "tokenizer.json"):
        assert (reference.output / name).exists()
    curve = reference.curve()
    assert curve["step"].tolist() == list(range(1, STEPS + 1))
    np.testing.assert_allclose(curve["loss"], 0.9 * curve["clm"] + 0.1 * curve["fusion"], rtol=1e-5)
    assert curve["loss"][-1] < curve["loss"][0]
    manifest = json.loads((reference.output / "manifest.json").read_text())
    assert manifest["dialogues"] == 22
    assert manifest["files"].keys() >= {"model.safetensors", "loss.csv"}
    assert list(reference.checkpoints.iterdir()) == []


def test_the_bar_shows_steps_remaining_time_loss_parts_and_speed(reference):
    parts = ", ".join(rf"{name}=\d+\.\d+" for name in ("loss", "clm", "fusion"))
    bar = rf"train: 100%.* {STEPS}/{STEPS} \[\d\d:\d\d<\d\d:\d\d, .*, {parts}, tokens/s=\d+\]"
    assert re.search(bar, reference.log())


def test_the_clm_target_sees_the_same_tokens(data, reference, tmp_path):
    run = Run(data, tmp_path, fused=False)
    assert run.run() == 0, run.log()
    names = ("step", "response_tokens")
    curves = [each.curve() for each in (run, reference)]
    for name in names:
        assert curves[0][name].tolist() == curves[1][name].tolist()
    assert curves[0]["clm"][0] == pytest.approx(curves[1]["clm"][0], rel=1e-6)
    assert (curves[0]["fusion"] == 0).all()
    np.testing.assert_allclose(curves[0]["loss"], curves[0]["clm"], rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        ("--micro-batch-size", "8"),
        ("--micro-batch-size", "1"),
        ("--batching", "packed"),
        ("--gradient-checkpointing",),
    ],
    ids=" ".join,
)
def test_the_split_of_a_batch_changes_nothing(data, reference, tmp_path, options):
    """Weights moved by 6e-3; float32 summation order moves them by less than 1e-5."""
    run = Run(data, tmp_path, *options)
    assert run.run() == 0, run.log()
    assert_close(run, reference, 1e-5)


@pytest.mark.parametrize("zero", [None, "zero2", "zero2_offload", "zero3"])
def test_two_ranks_equal_one_process(data, reference, tmp_path, zero):
    """With accumulation, and at the end of an epoch micro-batches without any dialogue.

    Gradients are compared as well: Adam does not see a factor that all of them have.
    """
    run = Run(data, tmp_path, "--devices", "2", "--micro-batch-size", "1", *zero_options(zero))
    assert run.run_ranks(2, record_gradients(tmp_path)) == [0, 0], run.log()
    assert_close(run, reference, 1e-5)
    np.testing.assert_allclose(*(gradients(r) for r in (run, reference)), rtol=1e-4)


@pytest.mark.parametrize("zero", ["zero2", "zero3"])
def test_the_settings_of_the_papers_run_keep_float32_weights(data, reference, tmp_path, zero):
    """bf16 products, activations computed twice, accumulation; the change is within 5 %."""
    calls = tmp_path / "calls"

    def patch():
        original = MistralMLP.forward

        def forward(self, x):
            with calls.open("a") as stream:
                stream.write("x")
            return original(self, x)

        MistralMLP.forward = forward

    options = ("--bf16", "--gradient-checkpointing", "--micro-batch-size", "2")
    run = Run(data, tmp_path, *options, *zero_options(zero))
    assert run.run_ranks(2, patch) == [0, 0], run.log()
    micro_batches, layers = STEPS * 8 // 2, 2
    assert len(calls.read_text()) == 2 * micro_batches * layers
    pivot, exact = load_file(data / "pivot" / "model.safetensors"), reference.weights()
    for name, weight in run.weights().items():
        assert not torch.equal(weight, weight.bfloat16().float()), f"{name} was rounded to bf16"
        error = (weight - exact[name]).norm() / (exact[name] - pivot[name].float()).norm()
        assert 1e-4 < error < 0.05, name


@pytest.mark.parametrize(
    ("code", "options"),
    [(0, ()), (1, ("--learning-rate", "1e30", "--warmup-ratio", "0"))],
    ids=["finished", "failed"],
)
def test_the_wrapper_is_gone_before_its_process_group(data, tmp_path, code, options):
    """Otherwise the end of a training can hang or abort in gloo's destructor."""
    mark = tmp_path / "destroyed"

    def patch():
        destroy = torch.distributed.destroy_process_group

        def checked(group=None):
            wrapper = torch.nn.parallel.DistributedDataParallel
            # by type: isinstance asks an object for its __class__, which some cannot answer
            assert not [one for one in gc.get_objects() if issubclass(type(one), wrapper)]
            with mark.open("a") as stream:
                stream.write("x")
            destroy(group)

        torch.distributed.destroy_process_group = checked

    run = Run(data, tmp_path, *options)
    assert run.run_ranks(2, patch) == [code, code], run.log()
    assert mark.read_text() == "xx"
    assert "Traceback" not in run.log()


def test_the_first_process_saves_when_the_others_are_gone(data, tmp_path):
    """It may take longer than the others' patience with a process group."""

    def patch():
        original = target_folder.save_target

        def save(*args):
            assert not torch.distributed.is_initialized()
            original(*args)

        target_folder.save_target = save

    run = Run(data, tmp_path, *zero_options("zero3"))
    assert run.run_ranks(2, patch) == [0, 0], run.log()


def test_a_loss_that_is_not_finite_stops_the_run(data, tmp_path):
    run = Run(data, tmp_path, "--learning-rate", "1e30", "--warmup-ratio", "0")
    assert run.run() == 1
    assert re.search("^error: the loss at step .*lower --learning-rate", run.log(), re.MULTILINE)
    assert not run.output.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--global-batch-size 6", "not a multiple"),
        ("--pivot-model {data}/headless", "does not tie the output layer.*lm_head.weight"),
        ("--pivot-model {data}/truncated", "where its header needs"),
        ("--devices 2", "1 processes were started"),
        ("--device cuda", "no CUDA device"),
        ("--max-length 16", "no dialogue has a response"),
        ("--pivot-model {data}", "no tokenizer that can be loaded"),
        ("--fused {data}/dialogues.parquet", "not a logit store"),
        ("--fused {data}/foreign.parquet", "beyond the pivot's vocabulary"),
        (
            "--fused {data}/fused.parquet {data}/mixed.parquet",
            "mixed.parquet is a shard of another",
        ),
        ("--fused {data}/fused.parquet {data}/again.parquet", "again.parquet: dialogue .* is in"),
        (f"--deepspeed {ROOT}/configs/deepspeed/zero2.json", "with torchrun"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_one_line(data, tmp_path, options, message):
    row = next(read_logits(data / "fused.parquet"))
    with LogitWriter(data / "foreign.parquet", {"model": "foreign"}) as writer:
        writer.write(dataclasses.replace(row, top_ids=row.top_ids + 90_000))
    for name, facts in (("mixed", {"function": "avg_ce"}), ("again", {})):
        with LogitWriter(data / f"{name}.parquet", facts) as writer:
            writer.write(row)
    run = Run(data, tmp_path, *options.format(data=data).split())
    assert run.run() == 1
    last = run.log().splitlines()[-1]
    assert re.match(f"error: .*({message})", last), run.log()
    assert "Traceback" not in run.log()


def test_zero3_does_not_load_a_pivot_that_lacks_weights(data, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(data / "pivot", broken)
    weights = load_file(broken / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    run = Run(data, tmp_path, "--pivot-model", str(broken), *zero_options("zero3"))
    assert run.run_ranks(1) == [1], run.log()
    last = run.log().splitlines()[-1]
    assert last.startswith(f"error: {broken} lacks weights: model.layers.1.mlp.up_proj.weight")


@pytest.mark.parametrize(
    "option",
    [
        "--clm-weight 1.5",
        "--temperature 0",
        "--learning-rate -1",
        "--warmup-ratio 2",
        "--weight-decay nan",
        "--max-grad-norm 0",
    ],
)
def test_numbers_that_mean_nothing_are_refused(option, capsys):
    name, value = option.split()
    with pytest.raises(SystemExit):
        train_target.build_parser().parse_args([name, value])
    assert f"argument {name}: {value} is not a" in capsys.readouterr().err


@pytest.mark.parametrize(("ratio", "steps"), [("0", 0), ("0.03", 3), ("1", 100)])
def test_warm_up_is_a_share_of_all_steps(data, tmp_path, ratio, steps):
    run = Run(data, tmp_path, "--warmup-ratio", ratio)
    args = train_target.build_parser().parse_args(run.argv)
    settings = train_target.training_arguments(args, tmp_path, "cpu")
    assert settings.get_warmup_steps(100) == steps


def test_a_node_with_too_few_gpus_is_named_before_anything_else(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 7)
    monkeypatch.setenv("WORLD_SIZE", "16")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    with pytest.raises(UserError, match=rf"{socket.gethostname()} shows 7 GPUs to 8 processes"):
        train_target.choose_device("cuda", 16)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    assert train_target.choose_device("cuda", 16) == "cuda"
