"""Answers of a Hugging Face checkpoint by our own batched decoding."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from fusionchat.errors import UserError
from fusionchat.models.remote_code import runs_code
from fusionchat.mt_bench.answering.dialogue_engine import (
    AnswerOptions,
    Completion,
    DialogueEngine,
    Request,
)
from fusionchat.mt_bench.answering.generation import generate


class LocalEngine(DialogueEngine):
    """A loaded checkpoint with its tokenizer and chat template; on `auto` it spreads over GPUs."""

    def __init__(self, folder: Path, options: AnswerOptions, device: str, dtype: str) -> None:
        # Accelerate loads straight to a device, or spreads a model over several.
        placement = {} if device == "cpu" else {"device_map": device}
        try:
            trust = runs_code(folder)
            tokenizer = AutoTokenizer.from_pretrained(
                folder, trust_remote_code=trust, local_files_only=True
            )
            self.model = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=getattr(torch, dtype),
                trust_remote_code=trust,
                local_files_only=True,
                **placement,
            )
        except (OSError, ValueError) as error:
            raise UserError(f"{folder}: cannot be loaded as a causal model: {error}") from error
        super().__init__(tokenizer, folder, options)
        self.model.eval()

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Continue the requests in batches of similar length."""
        return generate(
            self.model,
            requests,
            max_new_tokens=self.options.max_new_tokens,
            stop_ids=self.stop_ids,
            batch_size=self.options.batch_size,
            top_k=self.options.top_k,
        )
