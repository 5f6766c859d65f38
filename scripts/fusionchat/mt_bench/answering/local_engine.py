"""Answers of a Hugging Face checkpoint by our own batched decoding."""

from collections.abc import Sequence
from pathlib import Path

from fusionchat.models.loading import load_model
from fusionchat.models.model_config import load_config
from fusionchat.models.tokenizer import check_vocabulary, load_tokenizer
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
        tokenizer = load_tokenizer(folder)
        check_vocabulary(load_config(folder), tokenizer, folder)
        super().__init__(tokenizer, folder, options)
        self.model = load_model(folder, dtype, device)

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
