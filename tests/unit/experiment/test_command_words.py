"""Command line words that say settings to programs."""

import pytest
from test_experiment import experiment_of

from fusionchat.command_words import (
    claim_words,
    endpoint,
    judge_options,
    null_controls,
    options,
    pairs,
    printed_rows,
    shards_of,
    sweep_values,
    table_rows,
)
from fusionchat.scores.rows import row_argument


def test_options_are_named_like_their_keys():
    settings = {"top_k": 5, "bf16": True, "tail": False, "loss": "ce"}
    assert options(settings) == ["--bf16", "--loss", "ce", "--no-tail", "--top-k", "5"]
    assert options(settings, "top_k", "tail", "absent") == ["--top-k", "5", "--no-tail"]
    assert options(settings, skip=("loss", "bf16")) == ["--no-tail", "--top-k", "5"]


def test_the_order_of_keys_in_a_file_changes_no_command():
    settings = {"epochs": 1, "batching": "packed", "seed": 0}
    assert options(settings) == options(dict(reversed(settings.items())))
    assert options({"seed": 0}) == ["--seed", "0"]


def test_pairs_need_a_value_for_each_name():
    assert pairs(["a", "b"], [1, "x"]) == ["a=1", "b=x"]
    with pytest.raises(ValueError, match="zip"):
        pairs(["a", "b"], [1])


def test_an_endpoints_settings_become_options():
    words = endpoint({"kind": "openai", "model": "m", "budget": 2, "reasoning": True}, "api_model")
    assert words == ["--api-model", "m", "--budget-usd", "2", "--reasoning"]
    words = endpoint({"model": "m", "extra_body": {"b": 1, "a": [2]}}, "judge_model")
    assert words == ["--extra-body", '{"a": [2], "b": 1}', "--judge-model", "m"]


def test_only_an_llm_needs_a_store():
    assert judge_options(experiment_of(), "rule") == ["--repeats", "1"]
    words = judge_options(experiment_of("configs/paper.yaml"), "qwen")
    assert words[:4] == ["--judge-name", "qwen", "--store", "results/paper/mt_bench/paid/qwen"]
    assert words[words.index("--judge-model") + 1] == "Qwen/Qwen2.5-72B-Instruct"


def test_rows_are_what_the_tables_read():
    run = experiment_of("configs/paper.yaml")
    words = table_rows(run, ["gpt4", "mixtral", "clm", "varm"])
    rows = [row_argument(word) for word in words[1::2]]
    assert set(words[::2]) == {"--row"}
    assert [row.group for row in rows] == ["Comparison", "Source", "Target", "Fused"]
    assert [row.paper for row in rows] == ["gpt-4", "nh2_mixtral", "clm", "varm"]
    assert printed_rows(run) == []
    printed = printed_rows(experiment_of("configs/released.yaml"))
    assert printed[:2] == ["--row", "Paper:gpt4:GPT-4 (March):gpt-4"]


def test_equal_averages_are_null_controls():
    assert null_controls(experiment_of()) == ["--null", "linear:ta:the same weighted average"]
    merges = experiment_of().config["merges"]
    merges["ta"]["targets"] = {"mixtral": 1, "solar": 3}
    assert null_controls(experiment_of(merges=merges)) == []


def test_shards_of_several_names():
    run = experiment_of("configs/rehearsal.yaml")
    (word,) = shards_of(run, "logits", ["solar"])
    name, _, files = word.partition("=")
    assert name == "solar"
    assert files.split(",")[3] == "results/rehearsal/logits/solar/0003.parquet"


def test_each_claim_finds_its_control_by_the_settings():
    training = {"clm_weight": 0.5}
    experiment = experiment_of(
        targets={
            "clm": {"sources": []},
            "other_self": {"sources": ["tiny_openchat"], "training": training},
            "self": {"sources": ["tiny_openchat"]},
            "both": {"sources": ["tiny_mixtral", "tiny_solar"]},
            "one": {"sources": ["tiny_mixtral"]},
            "two": {"sources": ["tiny_solar"]},
        },
        merges={
            "unequal": {"method": "linear", "targets": {"one": 1, "two": 2}},
            "plain": {"method": "linear", "targets": {"one": 1, "two": 1}},
            "varm": {"method": "varm", "targets": {"one": 1, "two": 1}},
        },
    )
    assert claim_words(experiment)[1::2] == [
        "fusion:varm:clm",
        "knowledge:varm:self",
        "pairwise:varm:both",
        "weights:varm:plain",
        "merging:varm:one,two",
        "averaging:varm:",
    ]


def test_a_sweep_over_one_number_has_values():
    experiment = experiment_of(
        targets={
            "one": {"sources": ["tiny_mixtral"]},
            "half": {"sources": ["tiny_mixtral"], "training": {"clm_weight": 0.5, "seed": 7}},
            "tail": {"sources": ["tiny_mixtral"], "training": {"clm_weight": 0.5, "tail": True}},
        },
        merges={},
    )
    words = sweep_values(experiment, ["one", "half"])
    assert words == ["--setting", "CLM weight", "--value", "one=0.9", "half=0.5"]
    assert sweep_values(experiment, ["one", "tail"]) == [], "two settings differ"
    assert sweep_values(experiment, ["one"]) == []
