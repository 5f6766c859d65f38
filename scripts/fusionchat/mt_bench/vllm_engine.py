"""Answers of a checkpoint by vLLM, which lives in an environment of its own."""

from collections.abc import Sequence
from pathlib import Path

from fusionchat.errors import UserError
from fusionchat.mt_bench.dialogue_engine import AnswerOptions, Completion, DialogueEngine, Request


class VllmEngine(DialogueEngine):
    """The prompts, stop tokens and records of the local engine, decoded by vLLM.

    Its noise is its own, seeded by question, choice and turn: sampled answers differ from those
    of the local engine.
    """

    def __init__(self, folder: Path, options: AnswerOptions, dtype: str) -> None:
        try:
            from vllm import LLM
        except ImportError as error:
            raise UserError("--engine vllm: vLLM is not installed in this environment") from error
        self.model = LLM(model=str(folder), dtype=dtype, seed=options.seed)
        super().__init__(self.model.get_tokenizer(), options)

    def block_size(self) -> int:
        """Blocks far larger than a batch: vLLM schedules by itself."""
        return max(super().block_size(), 1024)

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Continue the requests, as many at a time as vLLM sees fit."""
        from vllm import SamplingParams

        settings = [
            SamplingParams(
                temperature=request.temperature,
                max_tokens=self.options.max_new_tokens,
                stop_token_ids=sorted(self.stop_ids),
                seed=request.key & 0x7FFF_FFFF,
                skip_special_tokens=False,
            )
            for request in requests
        ]
        prompts = [{"prompt_token_ids": list(request.input_ids)} for request in requests]
        outputs = self.model.generate(prompts, settings)
        return [self._completion(output.outputs[0]) for output in outputs]

    def _completion(self, output: object) -> Completion:
        ids = list(output.token_ids)
        stopped = output.finish_reason == "stop"
        if ids and ids[-1] in self.stop_ids:
            ids.pop()
        return Completion(tuple(ids), "stop" if stopped else "length")
