"""DeepSpeed's configuration file: what it may say, so that the run's own settings hold."""

from pathlib import Path
from typing import Any

from fusionchat.errors import UserError
from fusionchat.files import read_json_object

_PRECISION = ("bf16", "fp16", "torch_autocast")
_SETTINGS = (
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "gradient_clipping",
)


def read_zero_file(path: Path) -> dict[str, Any]:
    """The file's content; a setting that would disagree with the run's is a `UserError`."""
    config = read_json_object(path)
    for section in _PRECISION:
        if section in config:
            raise UserError(f"{path}: remove `{section}`; the precision comes from --bf16")
    for key in _SETTINGS:
        if config.get(key, "auto") != "auto":
            raise UserError(f'{path}: {key} must be "auto"; it comes from the training\'s settings')
    return config
