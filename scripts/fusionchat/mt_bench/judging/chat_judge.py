"""An LLM behind an OpenAI-compatible endpoint as the judge."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fusionchat.mt_bench.endpoint.endpoint import Endpoint, RequestRefusedError
from fusionchat.mt_bench.endpoint.parallel import run_all
from fusionchat.mt_bench.endpoint.store import content_key
from fusionchat.mt_bench.judging.judge_prompts import JudgePrompts
from fusionchat.mt_bench.judging.judges import Task, Verdict
from fusionchat.mt_bench.judging.ratings import NO_RATING, is_valid, parse_rating

MAX_TOKENS = 2048
# A judge that answers the same at temperature 0 would repeat its unusable text for ever.
RETRY_TEMPERATURE = 0.3


@dataclass
class ChatJudge:
    """Single-answer grading (paper section 4.1) at temperature 0, both turns."""

    name: str
    endpoint: Endpoint
    prompts: JudgePrompts
    concurrency: int = 8
    attempts: int = 3

    def prompt_name(self, task: Task) -> str:
        """The judge prompt that a task uses."""
        return self.prompts.name(task)

    def status(self) -> str:
        """Dollars so far, and calls that were lost."""
        account = self.endpoint.store.account()
        lost = f", {account.lost} lost in transit" if account.lost else ""
        return f"{account.calls} calls, ${account.usd:.2f}{lost}"

    def judge_all(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Verdict]]:
        """Yield a verdict for every task as it arrives; equal requests are made once."""
        alike: dict[str, list[Task]] = {}
        for task in tasks:
            key = content_key(messages=self.prompts.messages(task), repeat=task.repeat)
            alike.setdefault(key, []).append(task)
        groups = list(alike.values())
        for group, verdict in run_all(
            lambda group: self._judge(group[0]), groups, self.concurrency, self.endpoint.stop
        ):
            for task in group:
                yield task, verdict

    def _judge(self, task: Task) -> Verdict:
        """Ask until the rating is usable, at most `attempts` times; then it is missing."""
        messages = self.prompts.messages(task)
        facts = {
            "references_sha256": self.prompts.references_sha256,
            "prompts_sha256": self.prompts.prompts_sha256,
        }
        for attempt in range(self.attempts):
            try:
                response = self.endpoint.complete(
                    messages,
                    temperature=RETRY_TEMPERATURE if attempt else 0.0,
                    max_tokens=MAX_TOKENS,
                    repeat=task.repeat,
                    attempt=attempt,
                )
            except RequestRefusedError as error:
                facts |= {"attempts": attempt + 1, "refused": str(error)}
                return Verdict(NO_RATING, "", messages[-1]["content"], 0.0, facts)
            rating = parse_rating(response.text)
            if is_valid(rating):
                break
        facts |= {"attempts": attempt + 1, "judge_model": response.model}
        rating = rating if is_valid(rating) else NO_RATING
        return Verdict(rating, response.text, messages[-1]["content"], response.tstamp, facts)
