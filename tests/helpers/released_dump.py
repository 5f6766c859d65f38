"""A dump in the released format (get_data_representation.py), by a plain forward of a model."""

from pathlib import Path

import numpy as np
import tiny_models
import torch
import torch.nn.functional as F
from datasets import Dataset, DatasetDict

from fusionchat.dialogues.dialogue import Dialogue

TEMPLATE = "openchat_3.5"
WIDTH, PAD, K = 300, 0, 10  # the pad is the beginning of text, as theirs is the unknown token


def record(model, dialogue: Dialogue) -> dict[str, np.ndarray | float]:
    """One row: float16 logits first, then the top k and the cross-entropies."""
    encoded = tiny_models.renderer().encode(dialogue)
    length = len(encoded.input_ids)
    ids, labels = np.full(WIDTH, PAD), np.full(WIDTH, -100)
    ids[:length], labels[:length] = encoded.input_ids, encoded.labels()
    with torch.no_grad():
        logits = model(torch.from_numpy(ids)[None]).logits[0].half()
    losses = F.cross_entropy(
        logits[:-1].float(), torch.from_numpy(labels)[1:], reduction="none"
    ).half()
    top = torch.topk(logits, K)
    return {
        "input_ids": ids,
        "labels": labels,
        "attention_mask": (ids != PAD).astype(np.int64),
        "per_step_logits": top.values.numpy(),
        "per_step_indices": top.indices.numpy(),
        "metric_ce": np.float16(losses.float().sum() / (labels[1:] != -100).sum()),
        "per_step_metric_ce": losses.numpy(),
    }


def columns(records: list[dict], token_ce: bool = False) -> Dataset:
    """The records as a data set."""
    names = [name for name in records[0] if token_ce or name != "per_step_metric_ce"]
    return Dataset.from_dict({name: [record[name] for record in records] for name in names})


def save(folder: Path, data: Dataset, shards: int = 2) -> Path:
    """As the authors saved it."""
    DatasetDict({"train": data}).save_to_disk(folder, num_shards={"train": shards})
    return folder
