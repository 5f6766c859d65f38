"""What a merged model gets beside its weights, and which inputs do not belong together."""

import json

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, ModelCardData
from small_checkpoints import changed, random_arrays, write
from tiny_models import tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

import merge_linear
import merge_varm
from fusionchat.errors import UserError
from fusionchat.files import read_json
from fusionchat.merging.config_differences import differences

KEPT = ("LICENSE", "NOTICE.txt", "USE_POLICY.md", "spiece.spm", "modules.json")
KEPT += ("1_Pooling/config.json",)
ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}
LLAMA = {"model_type": "llama"}
LEFT = ("optimizer.pt", "scheduler.pt", "rng_state_0.pth", "trainer_state.json", "runs/events.1")
LEFT += ("training_args.bin", "all_results.json", "pytorch_model.bin.index.json", ".cache/x.json")


@pytest.fixture
def options(tmp_path) -> list[str]:
    pivot = random_arrays(0)
    folders = [write(tmp_path / "pivot", pivot)]
    folders += [write(tmp_path / name, changed(pivot, n)) for n, name in enumerate("ab", 1)]
    return [f"--pivot={folders[0]}", *(f"--target={folder}" for folder in folders[1:])]


def put(path, content: str = "{}") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def test_licenses_and_pooling_stay_and_what_a_training_leaves_does_not(options, tmp_path):
    for name in (*KEPT, *LEFT):
        put(tmp_path / "pivot" / name)
    merge_linear.main([*options, f"--output={tmp_path / 'm'}"])
    assert all((tmp_path / "m" / name).is_file() for name in KEPT)
    assert not any((tmp_path / "m" / name).exists() for name in LEFT)


def test_tokenizer_and_template_come_from_the_target_that_is_named(options, tmp_path):
    pivot, a = tmp_path / "pivot", tmp_path / "a"
    put(pivot / "tokenizer_config.json", '{"chat_template": "old"}')
    put(pivot / "vocab.json")
    put(a / "tokenizer.json", '{"model": {"vocab": {"x": 0}}}')
    put(a / "tokenizer_config.json", '{"eos_token": "<end>"}')
    put(a / "chat_template.jinja", "new")
    put(a / "generation_config.json", '{"eos_token_id": 7}')
    config = read_json(a / "config.json")
    put(a / "config.json", json.dumps({**config, "eos_token_id": 7}))
    output = tmp_path / "m"
    merge_varm.main([*options, "--tokenizer-from=a", f"--output={output}"])
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (output / name).read_bytes() == (a / name).read_bytes()
    assert not (output / "vocab.json").exists()
    assert read_json(output / "config.json")["eos_token_id"] == 7
    merge_varm.main([*options, "--template-from=a", f"--output={output}"])
    assert (output / "chat_template.jinja").read_text() == "new"
    assert read_json(output / "tokenizer_config.json") == {}  # the old template is gone
    assert (output / "vocab.json").exists()
    with pytest.raises(UserError, match="--template-from c: the targets are a, b"):
        merge_varm.main([*options, "--template-from=c", f"--output={output}"])


def test_the_merged_model_stops_where_all_targets_stop(options, tmp_path):
    put(tmp_path / "pivot" / "generation_config.json", '{"eos_token_id": 3, "top_p": 0.5}')
    put(tmp_path / "a" / "generation_config.json", '{"eos_token_id": [3, 7, 9]}')
    put(tmp_path / "b" / "generation_config.json", '{"eos_token_id": 7}')
    merge_linear.main([*options, f"--output={tmp_path / 'm'}"])
    generation = read_json(tmp_path / "m" / "generation_config.json")
    assert generation == {"eos_token_id": [3, 7], "top_p": 0.5}


@pytest.mark.parametrize(
    ("pivot", "target", "told"),
    [
        ({"rms_norm_eps": 1e-5}, {"rms_norm_eps": 1e-6}, "rms_norm_eps is 1e-06"),
        ({"num_hidden_layers": 2}, {"num_hidden_layers": 3}, "num_hidden_layers is 3"),
        ({"id2label": {"0": "A"}}, {"id2label": {"0": "B"}}, "id2label"),
        ({"rope_theta": 1e4}, {"rope_theta": 1e6}, "theta 1e+06"),
        ({"rope_theta": 1e4}, {"rope_parameters": {"rope_theta": 5e5}}, "theta 500000"),
        ({}, {"rope_scaling": {"type": "linear", "factor": 2.0}}, "factor 2.0"),
        (ROPE, ROPE | {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, "factor 4.0"),
        (ROPE, {"rope_theta": 1e4, "rope_parameters": {"rope_theta": 5e5}}, "theta 500000"),
        ({"sliding_window": 4096}, {"sliding_window": 8192}, "sliding_window is 8192"),
        ({"sliding_window": 4096}, {"sliding_window": None}, "sliding_window is None"),
        ({"attention_bias": False}, {"attention_bias": True}, "attention_bias is True"),
        ({"head_dim": 64}, {"head_dim": 128}, "head_dim is 128"),
        ({"hidden_size": 64}, {"hidden_size": 128}, "hidden_size is 128"),
        ({"num_labels": 2}, {"num_labels": 3}, "num_labels is 3"),
        ({"final_logit_softcapping": 30.0}, {"final_logit_softcapping": 20.0}, "is 20.0"),
        # One of them leaves it to the model class.
        ({"model_type": "granite"}, {"model_type": "granite", "logits_scaling": 8.0}, "is 8.0"),
        ({"model_type": "qwen2_moe", "norm_topk_prob": True}, {"model_type": "qwen2_moe"}, "False"),
        (LLAMA, LLAMA | {"rms_norm_eps": 1e-5}, "rms_norm_eps is 1e-05 where the pivot has 1e-06"),
        (LLAMA | {"hidden_act": "gelu"}, LLAMA, "hidden_act is 'silu'"),
    ],
)
def test_configs_that_compute_otherwise_are_named(pivot, target, told):
    [found] = differences(pivot, target)
    assert told in found


QWEN = {"model_type": "qwen2", "use_sliding_window": False}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (LLAMA, LLAMA | {"rms_norm_eps": 1e-6, "hidden_act": "silu", "attention_bias": False}),
        (QWEN | {"sliding_window": 32768}, QWEN | {"sliding_window": None}),
        ({"model_type": "nobody knows"}, {"model_type": "nobody knows", "norm_eps": 1e-5}),
    ],
)
def test_what_the_model_class_has_anyway_is_no_difference(one, other):
    assert differences(one, other) == differences(other, one) == []


def test_configs_that_only_say_it_otherwise_are_equal():
    old = {"rope_theta": 1e4, "rope_scaling": None, "torch_dtype": "bfloat16", "use_cache": True}
    new = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "dtype": "float32"}
    assert differences(old, new) == differences(new, old) == []


def test_what_a_merge_leaves_behind_is_told(options, tmp_path, caplog):
    """Special tokens, a template and a tokenizer that only a target has."""
    for name, ids in (("pivot", {"pad_token_id": 0, "eos_token_id": 2}), ("a", {}), ("b", {})):
        config = read_json(tmp_path / name / "config.json")
        put(tmp_path / name / "config.json", json.dumps({**config, **ids}))
    merge_linear.main([*options, f"--output={tmp_path / 'm'}"])
    assert not caplog.records
    config = read_json(tmp_path / "b" / "config.json")
    put(tmp_path / "b" / "config.json", json.dumps({**config, "pad_token_id": 5}))
    put(tmp_path / "a" / "tokenizer_config.json", '{"chat_template": "x"}')
    put(tmp_path / "b" / "tokenizer.json", "{}")
    merge_linear.main([*options, f"--output={tmp_path / 'm'}"])
    told = "\n".join(record.getMessage() for record in caplog.records)
    assert "the pivot has no chat template; --template-from a takes the target's" in told
    assert "pad_token_id is 5 in the target b and 0 in the pivot" in told
    assert "the pivot has no tokenizer; --tokenizer-from b takes the target's" in told
    caplog.clear()
    merge_linear.main([*options, "--tokenizer-from=b", f"--output={tmp_path / 'm'}"])
    assert not caplog.records


def test_a_different_config_needs_a_flag(options, tmp_path):
    for name, epsilon in (("pivot", 1e-5), ("a", 1e-5), ("b", 1e-6)):
        config = read_json(tmp_path / name / "config.json")
        put(tmp_path / name / "config.json", json.dumps({**config, "rms_norm_eps": epsilon}))
    with pytest.raises(UserError, match=r"b/config.json: rms_norm_eps is 1e-06 .*other-config"):
        merge_linear.main([*options, f"--output={tmp_path / 'm'}"])
    merge_linear.main([*options, "--allow-other-config", f"--output={tmp_path / 'm'}"])


def test_the_card_names_hub_models_and_licenses_where_they_agree(options, tmp_path):
    licenses = {"pivot": "apache-2.0", "a": "apache-2.0"}
    for name, license_ in licenses.items():
        put(tmp_path / name / "README.md", f"---\nlanguage: en\nlicense: {license_}\n---\n# x\n")
    put(tmp_path / "pivot" / "manifest.json", '{"repo": "openchat/openchat_3.5"}')
    config = read_json(tmp_path / "b" / "config.json")
    put(tmp_path / "b" / "config.json", json.dumps({**config, "_name_or_path": "lab/b"}))
    merge_linear.main([*options, "--weight=a=1", "--weight=b=3", f"--output={tmp_path / 'm'}"])
    card = ModelCard.load(tmp_path / "m" / "README.md")
    facts = card.data.to_dict()
    assert facts["base_model"] == ["openchat/openchat_3.5", "lab/b"]
    assert facts["base_model_relation"] == "merge"
    assert (facts["license"], facts["library_name"]) == ("apache-2.0", "transformers")
    assert facts["tags"] == ["merge", "fusionchat", "linear"]
    command = "merge_linear.py --pivot openchat/openchat_3.5 --target a=a --target b=lab/b"
    assert f"{command} --weight a=1 --weight b=3" in card.content
    assert str(tmp_path) not in card.content
    put(tmp_path / "a" / "README.md", "---\nlicense: mit\n---\n")
    merge_linear.main([*options, f"--output={tmp_path / 'm'}"])
    card = ModelCard.load(tmp_path / "m" / "README.md")
    assert "license" not in card.data.to_dict()
    assert "Licenses differ: pivot: apache-2.0, a: mit." in card.content


def test_models_in_the_hubs_cache(options, tmp_path):
    """Snapshots of links into a folder of blobs; the cache's name says where they came from."""
    folders = []
    for name in ("pivot", "a", "b"):
        put(tmp_path / name / "LICENSE", "free")
        place = tmp_path / "hub" / f"models--lab--{name}-1.5"
        snapshot = place / "snapshots" / ("0123" + name)
        snapshot.mkdir(parents=True)
        (place / "blobs").mkdir()
        for number, path in enumerate(sorted((tmp_path / name).iterdir())):
            blob = path.rename(place / "blobs" / str(number))
            (snapshot / path.name).symlink_to(f"../../blobs/{blob.name}")
        folders.append(snapshot)
    options = [f"--pivot={folders[0]}", f"--target=a={folders[1]}", f"--target=b={folders[2]}"]
    output = tmp_path / "m"
    merge_varm.main([*options, f"--output={output}"])
    assert not [path for path in output.iterdir() if path.is_symlink()]
    assert (output / "LICENSE").read_text() == "free"
    card = ModelCard.load(output / "README.md")
    assert card.data.base_model == ["lab/pivot-1.5", "lab/a-1.5", "lab/b-1.5"]
    assert str(tmp_path) not in card.content
    with pytest.raises(UserError, match="would replace"):
        merge_varm.main([*options, f"--output={folders[1]}"])


def test_a_strangers_three_minutes(tmp_path, monkeypatch):
    """The README's command, on two fine-tunings of a tiny model."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    config = LlamaConfig(vocab_size=420, num_attention_heads=4, **sizes)
    model = AutoModelForCausalLM.from_config(config)
    model.to(torch.bfloat16).save_pretrained("base-model")
    tokenizer().save_pretrained("base-model")
    for seed, name in enumerate(("first-model", "second-model"), 1):
        torch.manual_seed(seed)
        tuned = AutoModelForCausalLM.from_pretrained("base-model", dtype=torch.float32)
        optimizer = torch.optim.AdamW(tuned.parameters(), lr=1e-4)
        ids = torch.randint(0, 420, (2, 16))
        tuned(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        tuned.save_pretrained(name)
        tokenizer().save_pretrained(name)
    command = "--pivot base-model --target first-model --target second-model --granularity matrix"
    merge_varm.main([*command.split(), "--output", "merged-model", "--dry-run"])
    merge_varm.main([*command.split(), "--output", "merged-model"])
    merged, report = AutoModelForCausalLM.from_pretrained("merged-model", output_loading_info=True)
    assert not any(report.values())
    assert merged.dtype == torch.float32
    assert AutoTokenizer.from_pretrained("merged-model").eos_token == "<eot>"
    card = ModelCard.load("merged-model/README.md")
    known = ModelCardData(**card.data.to_dict()).to_yaml()
    assert yaml.safe_load(known) == yaml.safe_load(card.data.to_yaml())
    assert card.data.pipeline_tag == "text-generation"
