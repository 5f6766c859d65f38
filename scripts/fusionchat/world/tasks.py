"""The world's questions as tasks of lm-evaluation-harness: YAML files and their documents.

`world_choice`: which of the options is likeliest; `world_number`: generate a number.
"""

from pathlib import Path
from typing import Any

import yaml

from fusionchat.categories import CATEGORIES
from fusionchat.files import write_jsonl
from fusionchat.world.exercise import Exercise
from fusionchat.world.generator import World

Record = dict[str, Any]
SPLITS = {"test": "questions", "validation": "validation"}  # of a task, by the world's purpose

MEAN = {"aggregation": "mean", "higher_is_better": True}
FORMS: dict[str, Record] = {
    "choice": {
        "output_type": "multiple_choice",
        "doc_to_choice": "{{options}}",
        "doc_to_target": "{{options.index(answer)}}",
        "metric_list": [{"metric": "acc", **MEAN}, {"metric": "acc_norm", **MEAN}],
    },
    "number": {
        "output_type": "generate_until",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n"], "do_sample": False, "max_gen_toks": 16},
        "filter_list": [
            {
                "name": "first-number",
                "filter": [
                    {"function": "regex", "regex_pattern": "([0-9]+)"},
                    {"function": "take_first"},
                ],
            }
        ],
        "metric_list": [{"metric": "exact_match", **MEAN}],
    },
}


def write_tasks(world: World, count: int, folder: Path, place: Path) -> None:
    """Write each task's YAML and documents to `folder`, which will lie at `place`.

    `count` questions of each category that has such questions, and as many for the examples in
    prompts. The harness looks for documents from the working directory.
    """
    for kind, form in FORMS.items():
        name = f"world_{kind}"
        for split, purpose in SPLITS.items():
            write_jsonl(folder / f"{name}.{split}.jsonl", _documents(world, kind, purpose, count))
        task = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {
                "data_files": {split: str(place / f"{name}.{split}.jsonl") for split in SPLITS}
            },
            "test_split": "test",
            "fewshot_split": "validation",
            "doc_to_text": "{{question}}",
            **form,
        }
        text = yaml.safe_dump(task, sort_keys=False)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def _documents(world: World, kind: str, purpose: str, count: int) -> list[Record]:
    """The first turns of this kind, category by category."""
    drawn = (world.distinct(category, purpose, count) for category in CATEGORIES)
    return [_document(one) for part in drawn for one in part if one.rules[0]["kind"] == kind]


def _document(exercise: Exercise) -> Record:
    """A question with its right answer, and with the options where it has some."""
    rule = exercise.rules[0]
    if "options" not in rule:
        return {"question": exercise.prompts[0], "answer": str(rule["answer"])}
    options = [f"{option}." for option in rule["options"]]
    return {
        "question": exercise.prompts[0],
        "options": options,
        "answer": f"{rule['answer']}.",
    }
