"""Answers of a model behind an OpenAI-compatible endpoint."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fusionchat.mt_bench.answering.templates import chat_messages
from fusionchat.mt_bench.answers import Turn, answer_record, text_sha256
from fusionchat.mt_bench.endpoint.endpoint import Endpoint, RequestRefusedError
from fusionchat.mt_bench.endpoint.parallel import run_all
from fusionchat.mt_bench.questions import Question

SYSTEM_MESSAGE = "You are a helpful assistant."


@dataclass
class ApiEngine:
    """Asks each question's turns one after the other, many questions at once."""

    endpoint: Endpoint
    max_new_tokens: int
    choices: int = 1
    concurrency: int = 8
    temperature_scale: float = 1.0

    def answer(self, model_id: str, questions: Sequence[Question]) -> Iterator[list[dict]]:
        """Yield FastChat's answer records as questions are completed; empty replies stay empty."""
        answered = run_all(self._choices, questions, self.concurrency, self.endpoint.stop)
        for question, (choices, tstamp) in answered:
            yield [answer_record(model_id, question, choices, tstamp)]

    def _choices(self, question: Question) -> tuple[list[list[Turn]], float]:
        """All choices of a question, and when the last reply arrived (Unix time)."""
        pairs = [self._dialogue(question, choice) for choice in range(self.choices)]
        return [turns for turns, _ in pairs], max(tstamp for _, tstamp in pairs)

    def _dialogue(self, question: Question, choice: int) -> tuple[list[Turn], float]:
        said: list[str] = []
        turns: list[Turn] = []
        tstamp = 0.0
        for asked in question.turns:
            said.append(asked)
            turn, tstamp = self._turn(chat_messages(SYSTEM_MESSAGE, said), question, choice)
            turns.append(turn)
            said.append(turn.text)
        return turns, tstamp

    def _turn(self, messages: Any, question: Question, choice: int) -> tuple[Turn, float]:
        prompt_sha256 = text_sha256(json.dumps(messages, sort_keys=True))
        try:
            response = self.endpoint.complete(
                messages,
                temperature=question.temperature * self.temperature_scale,
                max_tokens=self.max_new_tokens,
                repeat=choice,
            )
        except RequestRefusedError:
            return Turn("", prompt_sha256, 0, "context"), 0.0
        turn = Turn(response.text, prompt_sha256, response.completion_tokens, response.finish)
        return turn, response.tstamp
