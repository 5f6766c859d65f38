"""From questions to requests and from completions to answer records, whatever decodes."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionchat.dialogues.options import RenderingOptions
from fusionchat.dialogues.renderer import Prompt, make_renderer
from fusionchat.mt_bench.answering.stream_key import stream_key
from fusionchat.mt_bench.answers import (
    Turn,
    answer_record,
    clean_answer,
    special_token_texts,
    text_sha256,
)
from fusionchat.mt_bench.questions import Question
from fusionchat.mt_bench.thoughts import split_thoughts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Record = dict[str, Any]  # an answer record of FastChat


@dataclass(frozen=True)
class AnswerOptions:
    """What decides the answers besides the model and the questions."""

    rendering: RenderingOptions = field(default_factory=RenderingOptions)
    keep_separators: bool = False
    max_new_tokens: int = 1024
    batch_size: int = 16
    choices: int = 1
    seed: int = 0
    top_k: int | None = None
    temperature_scale: float = 1.0


@dataclass(frozen=True)
class Request:
    """A prompt to continue: its ids, the temperature, and the key of its noise."""

    input_ids: tuple[int, ...]
    temperature: float
    key: int


@dataclass(frozen=True)
class Completion:
    """Generated ids without the token that ended them; `finish` is stop, length or context."""

    token_ids: tuple[int, ...]
    finish: str


class DialogueEngine(ABC):
    """Answers questions turn by turn; a subclass decodes batches of requests."""

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", folder: Path, options: AnswerOptions
    ) -> None:
        self.tokenizer, self.options = tokenizer, options
        self.renderer = make_renderer(
            tokenizer, options.rendering, folder, False, options.keep_separators
        )
        self.stop_ids = set(self.renderer.stop_ids)
        self._special_tokens = special_token_texts(tokenizer)

    @abstractmethod
    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Continue every request; completions in the order of the requests."""

    def block_size(self) -> int:
        """How many questions are answered together before their answers are written."""
        return max(1, self.options.batch_size // self.options.choices)

    def answer(self, model_id: str, questions: Sequence[Question]) -> Iterator[list[Record]]:
        """Yield FastChat's answer records, a block of questions at a time, longest first."""
        ordered = sorted(questions, key=lambda q: len(q.turns[0]), reverse=True)
        for start in range(0, len(ordered), self.block_size()):
            yield self._block(model_id, ordered[start : start + self.block_size()])

    def _block(self, model_id: str, questions: Sequence[Question]) -> list[Record]:
        """Answer all turns of these questions, all their choices together."""
        choices = range(self.options.choices)
        answered: dict[tuple[int, int], list[Turn]] = {
            (index, choice): [] for index in range(len(questions)) for choice in choices
        }
        for turn in range(max(len(q.turns) for q in questions)):
            waiting = [key for key in answered if turn < len(questions[key[0]].turns)]
            prompts = [self._prompt(questions[i], answered[i, c]) for i, c in waiting]
            requests = [
                self._request(questions[index], choice, turn, prompt)
                for (index, choice), prompt in zip(waiting, prompts, strict=True)
            ]
            completions = self.complete(requests)
            for key, prompt, completion in zip(waiting, prompts, completions, strict=True):
                answered[key].append(self._turn(prompt, completion))
        return [
            answer_record(model_id, question, [answered[index, choice] for choice in choices])
            for index, question in enumerate(questions)
        ]

    def _prompt(self, question: Question, turns: Sequence[Turn]) -> Prompt:
        messages = []
        for asked, answered in zip(question.turns, turns, strict=False):
            messages += [asked, answered.text]
        return self.renderer.prompt([*messages, question.turns[len(turns)]])

    def _request(self, question: Question, choice: int, turn: int, prompt: Prompt) -> Request:
        temperature = question.temperature * self.options.temperature_scale
        key = stream_key(self.options.seed, question.question_id, choice, turn)
        return Request(prompt.ids, temperature, key)

    def _turn(self, prompt: Prompt, completion: Completion) -> Turn:
        text = self.tokenizer.decode(completion.token_ids, spaces_between_special_tokens=False)
        thoughts, text = split_thoughts(text)
        text = clean_answer(text, self.renderer.template.stop_strings(), self._special_tokens)
        tokens = len(completion.token_ids)
        return Turn(text, text_sha256(prompt.text), tokens, completion.finish, thoughts)
