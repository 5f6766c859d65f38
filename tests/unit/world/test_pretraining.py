import csv

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import make_pretraining
import make_world
import pretrain_source
from fusionchat.errors import UserError
from fusionchat.files import read_json, sha256
from fusionchat.world.pretraining import pad_batch

SIZES = ["--hidden-size", "16", "--layers", "2", "--heads", "2", "--kv-heads", "1"]
SIZES += ["--intermediate-size", "16", "--experts", "3", "--batch-size", "4"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    make_world.main(["--seed", "1", "--questions", "1", "--output", str(folder)])
    output = str(folder / "dialogues.json")
    make_pretraining.main(["--seed", "1", "--name", "a", "--dialogues", "160", "--output", output])
    return folder


def pretrain(world, output, *options):
    paths = ["--dialogues", str(world / "dialogues.json"), "--text", str(world / "text.txt")]
    pretrain_source.main([*paths, "--output", str(output), *SIZES, *options])


@pytest.mark.parametrize(
    ("architecture", "tokenizer", "loss_layer"),
    [
        ("mistral", "metaspace", "mlp"),
        ("mixtral", "metaspace", "experts"),
        ("llama", "byte_level", "mlp"),
    ],
)
def test_each_architecture_trains_and_loads(world, tmp_path, architecture, tokenizer, loss_layer):
    output = tmp_path / "model"
    options = ["--architecture", architecture, "--tokenizer", tokenizer, "--vocabulary", "500"]
    pretrain(world, output, *options, "--steps", "40", "--learning-rate", "0.01")
    with (output / "loss.csv").open() as stream:
        losses = [float(row["loss"]) for row in csv.DictReader(stream)]
    assert losses[-1] < losses[0]
    assert AutoConfig.from_pretrained(output).model_type == architecture
    model = AutoModelForCausalLM.from_pretrained(output)
    loaded = AutoTokenizer.from_pretrained(output)
    assert model.dtype == torch.float32
    assert model.generation_config.eos_token_id == loaded.eos_token_id == len(loaded) - 1
    assert model.generation_config.pad_token_id == loaded.pad_token_id
    assert any(loss_layer in name for name, _ in model.named_parameters())
    manifest = read_json(output / "manifest.json")
    assert manifest["files"]["model.safetensors"] == sha256(output / "model.safetensors")
    assert manifest["parameters"] == model.num_parameters()


def test_equal_seeds_give_equal_weights_and_other_seeds_others(world, tmp_path):
    options = ["--architecture", "mistral", "--tokenizer", "metaspace", "--vocabulary", "400"]
    sums = []
    for number, seed in enumerate(("1", "1", "2")):
        pretrain(world, tmp_path / str(number), *options, "--steps", "5", "--seed", seed)
        sums.append(sha256(tmp_path / str(number) / "model.safetensors"))
    assert sums[0] == sums[1] != sums[2]


def test_random_weights_may_be_saved_in_bfloat16(world, tmp_path):
    options = ["--architecture", "mixtral", "--tokenizer", "metaspace", "--vocabulary", "400"]
    pretrain(world, tmp_path / "model", *options, "--steps", "0", "--dtype", "bfloat16")
    assert AutoConfig.from_pretrained(tmp_path / "model").dtype == torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype="auto")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_batches_are_padded_on_the_right_and_padding_has_no_label():
    rows = [
        {"input_ids": torch.tensor(ids), "labels": torch.tensor(ids)} for ids in ([5, 6, 7], [8])
    ]
    batch = pad_batch(rows, 2)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 2, 2]]
    assert batch["labels"].tolist() == [[5, 6, 7], [8, -100, -100]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_mistakes_are_named(world, tmp_path):
    options = ["--architecture", "llama", "--tokenizer", "byte_level", "--hidden-size", "18"]
    with pytest.raises(UserError, match="hidden_size"):
        pretrain(world, tmp_path / "model", *options, "--heads", "4")
    with pytest.raises(UserError, match="float32"):
        pretrain(world, tmp_path / "model", *options[:4], "--dtype", "bfloat16")
    broken = tmp_path / "broken.json"
    broken.write_text('[{"id": "x"}]')
    with pytest.raises(UserError, match=r"broken\.json"):
        pretrain_source.read_released(broken)
