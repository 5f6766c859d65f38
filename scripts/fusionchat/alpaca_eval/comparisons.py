"""One answer beside the baseline's, in a seeded order, and the judge's preference between them."""

import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusionchat.errors import UserError
from fusionchat.files import read_text, sha256
from fusionchat.mt_bench.answers import judged_turns, no_answer
from fusionchat.mt_bench.endpoint.endpoint import Messages
from fusionchat.mt_bench.endpoint.ledger import Response
from fusionchat.mt_bench.endpoint.replies import FILTERED
from fusionchat.mt_bench.judging.chat_judge import Reading
from fusionchat.mt_bench.judging.judges import Judge, Missing, Verdict
from fusionchat.mt_bench.judging.ratings import NO_RATING, Rule

FIRST, SECOND = "m", "M"  # what the prompt calls the answers, in the order shown
FIELDS = ("instruction", "output_1", "output_2")
LOGPROBS = {"logprobs": True, "top_logprobs": 5}
_MESSAGE = re.compile(r"<\|im_start\|>(system|user)\n(.*?)<\|im_end\|>", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Comparison:
    """A model's answer and the baseline's, and whether the model's is shown first."""

    number: int
    instruction: str
    model: str
    output: str
    baseline: Mapping[str, Any]
    swapped: bool
    no_answer: str = ""
    repeat: int = 0

    @property
    def shown(self) -> tuple[str, str]:
        """Both answers in the order shown."""
        both = str(self.baseline["output"]), self.output
        return both[::-1] if self.swapped else both


def is_swapped(instruction: str, seed: int) -> bool:
    """Whether the model's answer comes first: a coin for each question, AlpacaEval's own."""
    coin = random.Random(f"is_switched_outputs{instruction}{seed}")
    return coin.choices([False, True])[0]


def make_comparisons(
    answers: Mapping[int, Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]], seed: int
) -> list[Comparison]:
    """One model's answers beside the baseline's, in the order of the questions."""
    comparisons = []
    for number, record in answers.items():
        choice, baseline = record["choices"][0], outputs[number]
        instruction = baseline["instruction"]
        comparisons.append(
            Comparison(
                number,
                instruction,
                record["model_id"],
                judged_turns(choice)[0],
                baseline,
                is_swapped(instruction, seed),
                no_answer(choice, 1),
            )
        )
    return comparisons


@dataclass(frozen=True)
class AlpacaPrompts:
    """AlpacaEval's prompt: messages with fields in braces; checksums of what it is fed with."""

    template: tuple[tuple[str, str], ...]
    prompts_sha256: str
    references_sha256: str

    def name(self, task: Comparison) -> str:
        """The one prompt, by the name of its file."""
        return "alpaca_eval_clf"

    def messages(self, task: Comparison) -> Messages:
        """The chat messages for the judge: the system's and the user's."""
        texts = dict(zip(FIELDS, (task.instruction, *task.shown), strict=True))

        def fill(match: re.Match[str]) -> str:
            return texts[match[1]]

        field = re.compile(rf"\{{({'|'.join(FIELDS)})\}}")
        return [{"role": role, "content": field.sub(fill, text)} for role, text in self.template]

    def user_prompt(self, task: Comparison) -> str:
        """The text that shows the judge the instruction and both answers."""
        return self.messages(task)[-1]["content"]


def read_prompt(path: Path, outputs: Path) -> AlpacaPrompts:
    """Read AlpacaEval's prompt file."""
    messages = _MESSAGE.findall(read_text(path))
    fields = [field for field in FIELDS if any(f"{{{field}}}" in text for _, text in messages)]
    if [role for role, _ in messages][-1:] != ["user"] or len(fields) < len(FIELDS):
        raise UserError(f"{path}: is not AlpacaEval's prompt with {', '.join(FIELDS)}")
    template = tuple((role, text.strip()) for role, text in messages)
    return AlpacaPrompts(template, sha256(path), sha256(outputs))


def read_preference(response: Response, rule: Rule) -> Reading:
    """The share of the win of the answer shown first: by probability, else by the text alone.

    A reply of one token is all that is asked for, so its end does not count as cut off.
    """
    if response.finish in FILTERED:
        return NO_RATING, Missing("blocked", f"the reply ended with {response.finish}")
    known = {token: response.alternatives.get(token, -math.inf) for token in (FIRST, SECOND)}
    if max(known.values()) > -math.inf:
        return 1.0 / (1.0 + math.exp(min(known[SECOND] - known[FIRST], 700.0))), None
    said = response.text.strip().strip("\"'`.*")
    if said in known:
        return float(said == FIRST), None
    if response.refusal:
        return NO_RATING, Missing("refused", response.refusal)
    return NO_RATING, Missing("no rating", f"the reply ends: {response.text[-100:]!r}")


def annotation(judge: Judge[Comparison], task: Comparison, verdict: Verdict) -> dict[str, Any]:
    """AlpacaEval's annotation (preference from 1, the baseline wins, to 2), then what it lacks."""
    share = verdict.rating if task.swapped else 1.0 - verdict.rating
    none = verdict.missing is not None
    record = {
        "dataset": task.baseline.get("dataset"),
        "instruction": task.instruction,
        "output_1": task.baseline["output"],
        "generator_1": task.baseline["generator"],
        "output_2": task.output,
        "generator_2": task.model,
        "annotator": judge.name,
        "preference": None if none else 1.0 + share,
        "index": task.number,
        "is_switched_outputs": task.swapped,
        "judgment": verdict.judgment,
        **verdict.facts,
    }
    if not none and task.output == task.baseline["output"]:
        record["preference"] = 1.5
    return record
