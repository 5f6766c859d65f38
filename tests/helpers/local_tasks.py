"""Local tasks for lm-evaluation-harness: multiple choice and generation over a few words."""

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
    common = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "test_split": "test",
        "fewshot_split": "train",
        "doc_to_text": "{{ask}}",
    }
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


TAKE = {"function": "take_first"}
