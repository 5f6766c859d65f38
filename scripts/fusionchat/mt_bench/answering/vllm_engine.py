"""Answers of a checkpoint by vLLM, which lives in an environment of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fusionchat.errors import UserError
from fusionchat.models.loading import check_plain_names
from fusionchat.models.model_config import load_config
from fusionchat.models.remote_code import runs_code
from fusionchat.models.tokenizer import check_vocabulary, load_tokenizer
from fusionchat.mt_bench.answering.dialogue_engine import (
    AnswerOptions,
    Completion,
    DialogueEngine,
    Request,
)


class VllmEngine(DialogueEngine):
    """The prompts, stop tokens and records of the local engine, decoded by vLLM.

    Its noise is its own, seeded by question, choice and turn: sampled answers differ from those
    of the local engine. On `auto` the model is divided over all visible GPUs.
    """

    def __init__(self, folder: Path, options: AnswerOptions, device: str, dtype: str) -> None:
        try:
            import torch
            from vllm import LLM
        except ImportError as error:
            raise UserError(
                "--engine vllm: vLLM is not installed here; it has an environment of its own, "
                "envs/vllm.yaml"
            ) from error
        tokenizer = load_tokenizer(folder)
        check_vocabulary(load_config(folder), tokenizer, folder)
        check_plain_names(folder)
        self.model = LLM(
            model=str(folder),
            dtype=dtype,
            seed=options.seed,
            trust_remote_code=runs_code(folder),
            tensor_parallel_size=torch.cuda.device_count() if device == "auto" else 1,
        )
        self.context = self.model.llm_engine.model_config.max_model_len
        super().__init__(tokenizer, folder, options)

    def block_size(self) -> int:
        """Blocks far larger than a batch: vLLM schedules by itself."""
        return max(super().block_size(), 1024)

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Continue the requests that leave room in the context, as many at a time as vLLM likes."""
        fitting = [request for request in requests if self._room(request) > 0]
        prompts = [{"prompt_token_ids": list(request.input_ids)} for request in fitting]
        outputs = self.model.generate(prompts, [self._settings(request) for request in fitting])
        done = iter(outputs)
        return [
            self._completion(request, next(done).outputs[0])
            if self._room(request) > 0
            else Completion((), "context")
            for request in requests
        ]

    def _room(self, request: Request) -> int:
        """Tokens that may be generated after a prompt."""
        return min(self.options.max_new_tokens, self.context - len(request.input_ids))

    def _settings(self, request: Request) -> Any:
        from vllm import SamplingParams

        return SamplingParams(
            temperature=request.temperature,
            top_k=self.options.top_k or 0,
            max_tokens=self._room(request),
            stop_token_ids=sorted(self.stop_ids),
            seed=request.key & 0x7FFF_FFFF,
            detokenize=False,
        )

    def _completion(self, request: Request, output: Any) -> Completion:
        """Without the token that ended it, which vLLM returns as well."""
        ids = tuple(output.token_ids)
        if output.finish_reason == "stop":
            return Completion(ids[:-1] if ids and ids[-1] in self.stop_ids else ids, "stop")
        short = self._room(request) < self.options.max_new_tokens
        return Completion(ids, "context" if short else "length")
