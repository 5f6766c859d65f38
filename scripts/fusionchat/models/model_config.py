"""A model's config.json as transformers understands it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from fusionchat.errors import UserError
from fusionchat.files import read_json_object
from fusionchat.models.checkpoint import check_pad_id, refuse_quantised
from fusionchat.models.remote_code import runs_code

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def load_config(folder: str | os.PathLike[str]) -> "PretrainedConfig":
    """A model's config; one that transformers cannot read is a `UserError` that names the file."""
    from transformers import AutoConfig

    path = Path(folder) / "config.json"
    refuse_quantised(read_json_object(path), path)
    trust = runs_code(folder)
    try:
        with quiet():
            config = AutoConfig.from_pretrained(
                folder, trust_remote_code=trust, local_files_only=True
            )
        text = config.get_text_config()
        size, pad = text.vocab_size, text.pad_token_id
    except Exception as error:  # whatever a wrong value does to transformers
        reason = one_line(error)
        raise UserError(
            f"{path} is no config that transformers {version('transformers')} can read: {reason}"
        ) from error
    check_pad_id(pad, size, path)
    return config


@contextmanager
def quiet() -> Iterator[None]:
    """No bars and reports of transformers: what they say becomes one line."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def one_line(error: Exception) -> str:
    """What an error says, in one line; a `KeyError` says no more than the key."""
    text = " ".join(str(error).split())[:500]
    return f"unknown {text}" if isinstance(error, KeyError) else text or type(error).__name__
