"""Local tasks for lm-evaluation-harness over a few words: each of its kinds, and a group."""

import json
import random
from pathlib import Path

import yaml

WORDS = "sum two three list house tree river note else value".split()
MEAN = {"aggregation": "mean", "higher_is_better": True}


def write_tasks(folder: Path, documents: int = 7, **more) -> Path:
    """`pick` (which word is likeliest) and `say` (generate one), with `more` keys in `pick`."""
    folder.mkdir()
    rng = random.Random(3)
    lines = []
    for _ in range(documents):
        options = [" ".join(rng.choices(WORDS, k=rng.randint(1, 5))) for _ in range(3)]
        lines.append({"ask": " ".join(rng.choices(WORDS, k=9)), "options": options})
    for split in ("test", "train"):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{split}.jsonl").write_text(text)
    files = {split: str(folder / f"{split}.jsonl") for split in ("test", "train")}
    common = {**COMMON, "dataset_kwargs": {"data_files": files}}
    pick = {
        "task": "pick",
        **common,
        "output_type": "multiple_choice",
        "doc_to_choice": "{{options}}",
        "doc_to_target": 1,
        "metric_list": [{"metric": name, **MEAN} for name in ("acc", "acc_norm")],
    }
    say = {
        "task": "say",
        **common,
        "output_type": "generate_until",
        "doc_to_target": "{{options[0]}}",
        "generation_kwargs": {"until": ["\n"], "do_sample": False, "max_gen_toks": 6},
        "filter_list": [
            {"name": name, "filter": [{"function": "regex", "regex_pattern": pattern}, TAKE]}
            for name, pattern in (("letter", "([a-z])"), ("word", "([a-z]+)"))
        ],
        "metric_list": [{"metric": "exact_match", **MEAN}],
    }
    for task in (pick | more, say):
        (folder / f"{task['task']}.yaml").write_text(yaml.safe_dump(task))
    return folder


def write_more_tasks(folder: Path) -> Path:
    """Other kinds on the same documents, by name, and the group `both` of two of them."""
    write_tasks(folder)
    files = {split: str(folder / f"{split}.jsonl") for split in ("test", "train")}
    common = {**COMMON, "dataset_kwargs": {"data_files": files}}
    acc = [{"metric": "acc", **MEAN}]
    kinds = {
        "several": {  # right answers
            "output_type": "multiple_choice",
            "doc_to_choice": "{{options}}",
            "doc_to_target": [0, 2],
            "metric_list": acc,
        },
        "ending": {
            "output_type": "loglikelihood",
            "doc_to_target": " {{options[0]}}",
            "metric_list": [*acc, {"metric": "perplexity", "aggregation": "perplexity"}],
        },
        "stops": {  # right if there is no a, i, n or t before the first e or o
            "output_type": "generate_until",
            "doc_to_target": "",
            "generation_kwargs": {"until": ["e", "o", "<eot>"], "max_gen_toks": 12},
            "metric_list": [{"metric": "exact_match", **MEAN, "regexes_to_ignore": ["[^aint]"]}],
        },
        "rolling": {
            "output_type": "loglikelihood_rolling",
            "doc_to_text": "",
            "doc_to_target": "{{ask}}",
            "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
        },
    }
    for name, task in kinds.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({**common, **task, "task": name}))
    group = {
        "group": "both",
        "task": ["pick", "several"],
        "aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}],
    }
    (folder / "both.yaml").write_text(yaml.safe_dump(group))
    return folder


COMMON = {
    "dataset_path": "json",
    "test_split": "test",
    "fewshot_split": "train",
    "doc_to_text": "{{ask}}",
}
TAKE = {"function": "take_first"}
