"""Answers of a model behind an OpenAI-compatible endpoint."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fusionchat.dialogues.messages import chat_messages
from fusionchat.mt_bench.answering.stream_key import stream_key
from fusionchat.mt_bench.answers import Turn, answer_record, text_sha256
from fusionchat.mt_bench.endpoint.endpoint import Endpoint, Messages, RequestRefusedError
from fusionchat.mt_bench.endpoint.failures import FailureWatch
from fusionchat.mt_bench.endpoint.parallel import run_all
from fusionchat.mt_bench.endpoint.replies import CUT_OFF, FILTERED
from fusionchat.mt_bench.questions import Question

# What FastChat tells a model of which it knows nothing else.
SYSTEM_MESSAGE = "You are a helpful assistant."
# How an answer ended for which all tries failed.
NO_REPLY = "no reply"


@dataclass(frozen=True)
class ApiOptions:
    """What decides the answers besides the model and the questions; None is not sent.

    `system_message` "" sends none. A seed is one for each question, choice and turn.
    """

    max_new_tokens: int
    choices: int = 1
    temperature_scale: float = 1.0
    system_message: str = SYSTEM_MESSAGE
    seed: int | None = None
    top_k: int | None = None


@dataclass
class ApiEngine:
    """Asks each question's turns one after the other, many questions at once."""

    endpoint: Endpoint
    options: ApiOptions
    concurrency: int = 8

    def answer(
        self, model_id: str, questions: Sequence[Question]
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield FastChat's answer records as questions are completed; empty replies stay empty.

        Raises a `UserError` where answers stay missing for a systematic reason.
        """
        watch = FailureWatch(len(questions), self.endpoint.options.base_url)
        answered = run_all(self._choices, questions, self.concurrency, self.endpoint.stop)
        try:
            for question, choices in answered:
                _note(watch, [turn for turns in choices for turn in turns])
                yield [answer_record(model_id, question, choices)]
            self.endpoint.give_up()
        finally:
            self.endpoint.close()

    def _choices(self, question: Question) -> list[list[Turn]]:
        return [self._dialogue(question, choice) for choice in range(self.options.choices)]

    def _dialogue(self, question: Question, choice: int) -> list[Turn]:
        """The turns of one choice; the model is not told again what it thought."""
        said: list[str] = []
        turns: list[Turn] = []
        for asked in question.turns:
            if turns and turns[-1].declined:
                turns.append(Turn("", "", 0, "not asked", declined="an earlier turn has no answer"))
                continue
            said.append(asked)
            messages = chat_messages(self.options.system_message, said)
            turns.append(self._turn(messages, question, choice, len(turns)))
            said.append(turns[-1].text)
        return turns

    def _turn(self, messages: Messages, question: Question, choice: int, turn: int) -> Turn:
        prompt = text_sha256(json.dumps(messages, sort_keys=True))
        try:
            response = self.endpoint.complete(
                messages,
                temperature=question.temperature * self.options.temperature_scale,
                max_tokens=self.options.max_new_tokens,
                repeat=choice,
                **self._sampling(question, choice, turn),
            )
        except RequestRefusedError as error:
            finish = NO_REPLY if error.passing else error.kind
            return Turn("", prompt, 0, finish, declined=f"{error.kind}: {error.reason}")
        finish = "length" if response.finish in CUT_OFF else response.finish
        declined = ""
        if not response.text and (finish in FILTERED or response.refusal):
            declined = f"blocked: {response.refusal or finish}"
        tokens = response.completion_tokens
        return Turn(response.text, prompt, tokens, finish, response.thoughts, declined)

    def _sampling(self, question: Question, choice: int, turn: int) -> dict[str, int]:
        """What is sent of --seed and --top-k; every answer has a seed of its own."""
        asked = {}
        if self.options.top_k is not None:
            asked["top_k"] = self.options.top_k
        if self.options.seed is not None:
            key = stream_key(self.options.seed, question.question_id, choice, turn)
            asked["seed"] = key & 0x7FFF_FFFF
        return asked


def _note(watch: FailureWatch, turns: Sequence[Turn]) -> None:
    """Tell the watch whether a question is answered."""
    declined = next((turn for turn in turns if turn.declined), None)
    if declined is None:
        watch.succeeded()
    else:
        passing = declined.finish == NO_REPLY
        watch.failed(declined.finish, declined.declined, passing=passing)
