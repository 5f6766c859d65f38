"""The programs that run models give on CUDA what they give on the CPU."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from forks import finish, start
from mt_bench_files import jsonl, questions
from mt_bench_models import checkpoint
from training_runs import STEPS, Run, assert_close, make_data, make_reference, strike, zero_options

import answer
import dump_logits
import measure_nll
from fusionchat.dialogues.dialogue import write_dialogues
from fusionchat.files import read_json, read_jsonl
from fusionchat.logits.store import read_logits
from fusionchat.training import trainer as training

DEVICES = ("cpu", "cuda")


def in_child(main: Callable[[list[str]], None], *argv: object) -> None:
    """Run a program in a fork, in which alone CUDA is initialised."""
    assert finish(start(main, argv)) == 0


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for kind in ("mistral", "mixtral", "gemma2"):
        tiny_models.save(folder / kind, kind)
    write_dialogues(folder / "dialogues.parquet", tiny_models.dialogues(60))
    return folder


@pytest.mark.parametrize("kind", ["mistral", "mixtral", "gemma2"])
def test_a_dump(models, tmp_path, kind):
    common = ("--model", models / kind, "--dialogues", models / "dialogues.parquet")
    common += ("--dtype", "float32", "--token-budget", 500, "--top-k", 5)
    for device in DEVICES:
        in_child(dump_logits.main, *common, "--device", device, "--output", tmp_path / device)
    rows = [list(read_logits(tmp_path / device)) for device in DEVICES]
    assert len(rows[0]) == len(rows[1]) == 60
    for expected, found in zip(*rows, strict=True):
        assert np.array_equal(found.input_ids, expected.input_ids)
        np.testing.assert_allclose(found.top_logprobs, expected.top_logprobs, atol=4e-3)  # float16
    ids = [np.concatenate([row.top_ids for row in each]) for each in rows]
    assert (ids[0] == ids[1]).mean() > 0.995  # neighbours may nearly tie


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 1e-2)])
def test_a_likelihood(models, tmp_path, dtype, tolerance):
    common = ("--model", models / "mistral", "--dialogues", models / "dialogues.parquet")
    common += ("--dtype", dtype)
    for device in DEVICES:
        in_child(measure_nll.main, *common, "--device", device, "--output", tmp_path / device)
    expected, found = (read_json(tmp_path / device) for device in DEVICES)
    counts = [[row[3:] for row in facts["per_dialogue"]] for facts in (expected, found)]
    assert counts[0] == counts[1]
    assert found["nll"] == pytest.approx(expected["nll"], rel=tolerance)


def test_greedy_answers_and_sampled_ones(tmp_path):
    asked = jsonl(tmp_path / "question.jsonl", questions(16))
    common = ("--model", checkpoint(tmp_path / "model"), "--model-id", "tiny", "--questions", asked)
    common += ("--max-new-tokens", 12, "--dtype", "float32")
    for device in DEVICES:
        output = ("--device", device, "--output", tmp_path / f"{device}.jsonl")
        in_child(answer.main, *common, *output)
    records = [read_jsonl(tmp_path / f"{device}.jsonl") for device in DEVICES]
    turns = [[one["choices"][0]["turns"] for one in each] for each in records]
    assert turns[0] == turns[1]  # also where drawn: every question has its own generator


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def on_cpu(data, tmp_path_factory) -> Run:
    return make_reference(data, tmp_path_factory.mktemp("cpu"))


def on_gpu(data: Path, folder: Path, *options: str) -> Run:
    return Run(data, folder, "--device", "cuda", *options)


@pytest.mark.parametrize(
    "options", [(), ("--batching", "packed"), ("--gradient-checkpointing",)], ids=str
)
def test_a_training(data, on_cpu, tmp_path, options):
    run = on_gpu(data, tmp_path, *options)
    assert run.run() == 0, run.log()
    np.testing.assert_allclose(run.curve()["loss"], on_cpu.curve()["loss"], rtol=1e-4)
    assert_close(run, on_cpu, 1e-4)


@pytest.mark.parametrize("zero", ["zero2", "zero3", "zero2_offload"])
def test_a_training_with_deepspeed(data, on_cpu, tmp_path, zero):
    run = on_gpu(data, tmp_path, *zero_options(zero))
    assert run.run_ranks(1) == [0], run.log()
    np.testing.assert_allclose(run.curve()["loss"], on_cpu.curve()["loss"], rtol=1e-3)
    assert_close(run, on_cpu, 1e-3)


@pytest.mark.parametrize("zero", [None, "zero3"])
def test_a_training_in_bfloat16_keeps_float32_weights(data, on_cpu, tmp_path, zero):
    run = on_gpu(data, tmp_path, "--bf16", *zero_options(zero))
    codes = run.run_ranks(1) if zero else [run.run()]
    assert codes == [0], run.log()
    np.testing.assert_allclose(run.curve()["loss"], on_cpu.curve()["loss"], rtol=3e-2)
    for name, weight in run.weights().items():
        assert weight.dtype == torch.float32
        assert not torch.equal(weight, weight.bfloat16().float()), f"{name} was rounded to bf16"


def test_a_killed_training_goes_on(data, on_cpu, tmp_path):
    run = on_gpu(data, tmp_path)
    assert run.run(strike(9, 9)) == -9  # after the checkpoint of step 2
    assert run.run() == 0, run.log()
    assert len(run.curve()) == STEPS
    assert_close(run, on_cpu, 1e-4)


def full_above(dialogues: int, tried: Path) -> Callable[[], None]:
    """A patch that asks for more memory than there is when more dialogues come at a time.

    It notes in the file `tried` how many came.
    """

    def patch() -> None:
        original = training.FusionTrainer.training_step

        def training_step(self, model, inputs, *args, **kwargs):
            with tried.open("a") as stream:
                stream.write(f"{len(inputs['input_ids'])} ")
            if len(inputs["input_ids"]) > dialogues:
                torch.empty(2**43, dtype=torch.uint8, device="cuda")
            return original(self, model, inputs, *args, **kwargs)

        training.FusionTrainer.training_step = training_step

    return patch


def test_a_training_halves_its_micro_batch_until_it_fits(data, on_cpu, tmp_path):
    run = on_gpu(data, tmp_path, "--fit-memory", "--micro-batch-size", "8")
    tried = tmp_path / "tried"
    assert run.run(full_above(2, tried)) == 0, run.log()
    assert tried.read_text().split()[:4] == ["8", "4", "2", "2"]
    assert_close(run, on_cpu, 1e-4)
