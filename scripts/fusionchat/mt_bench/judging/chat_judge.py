"""An LLM behind an OpenAI-compatible endpoint as the judge."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

from fusionchat.mt_bench.endpoint.batch import BatchRunner
from fusionchat.mt_bench.endpoint.endpoint import Endpoint, RequestRefusedError
from fusionchat.mt_bench.endpoint.failures import FailureWatch
from fusionchat.mt_bench.endpoint.ledger import Outcome, Response
from fusionchat.mt_bench.endpoint.parallel import run_all
from fusionchat.mt_bench.endpoint.replies import CUT_OFF, FILTERED
from fusionchat.mt_bench.endpoint.store import content_key
from fusionchat.mt_bench.judging.judges import Missing, Prompts, T, Verdict, missing_facts
from fusionchat.mt_bench.judging.ratings import NO_RATING, Rule, is_valid, parse_rating

MAX_TOKENS = 2048
# A judge that answers the same at temperature 0 would repeat its unusable text for ever.
RETRY_TEMPERATURE = 0.3


Reading = tuple[float, Missing | None]


def read_rating(response: Response, rule: Rule) -> Reading:
    """The rating in a reply, or why it has none: it was cut off, refused, or names none."""
    return read_text(response, lambda text: _rating(text, rule))


def read_text(response: Response, parse: Callable[[str], float]) -> Reading:
    """What `parse` finds in a reply (`NO_RATING`: nothing), or why there is nothing."""
    if response.finish in CUT_OFF:
        return NO_RATING, Missing("cut off", f"the reply ended with {response.finish}")
    if response.finish in FILTERED:
        return NO_RATING, Missing("blocked", f"the reply ended with {response.finish}")
    rating = parse(response.text)
    if rating != NO_RATING:
        return rating, None
    if response.refusal:
        return NO_RATING, Missing("refused", response.refusal)
    return NO_RATING, Missing("no rating", f"the reply ends: {response.text[-100:]!r}")


def _rating(text: str, rule: Rule) -> float:
    rating = parse_rating(text, rule)
    return rating if is_valid(rating) else NO_RATING


@dataclass
class ChatJudge(Generic[T]):
    """An LLM that judges at temperature 0 what its prompts show it.

    `read` finds the rating in a reply, by the rule `rating`; `attempts` says how often a usable
    one is asked for. `more` are further parameters of each request.
    With `batch`, requests are handed over together, and the replies are taken from the store.
    """

    name: str
    endpoint: Endpoint
    prompts: Prompts[T]
    concurrency: int = 8
    attempts: int = 3
    rating: Rule = "first"
    batch: BatchRunner | None = None
    read: Callable[[Response, Rule], Reading] = read_rating
    max_tokens: int = MAX_TOKENS
    more: Mapping[str, Any] = field(default_factory=dict)

    def prompt_name(self, task: T) -> str:
        """The judge prompt that a task uses."""
        return self.prompts.name(task)

    def status(self) -> str:
        """Dollars so far, and calls that were lost."""
        account = self.endpoint.store.account()
        lost = f", {account.lost} lost in transit" if account.lost else ""
        return f"{account.calls} calls, ${account.usd:.2f}{lost}"

    def close(self) -> None:
        """End the connections, and this process's part of the store."""
        self.endpoint.close()

    def judge_all(self, tasks: Sequence[T]) -> Iterator[tuple[T, Verdict]]:
        """Yield a verdict for every task as it arrives; equal requests are made once.

        Raises a `UserError` where ratings stay missing for a systematic reason.
        """
        watch = FailureWatch(len(tasks), self.endpoint.options.base_url)
        groups = self._by_request(tasks)
        if self.batch is not None:
            self._ask_together(self.batch, [group[0] for group in groups])
        for group, verdict in run_all(
            lambda group: self._judge(group[0]), groups, self.concurrency, self.endpoint.stop
        ):
            note(watch, verdict, len(group))
            for task in group:
                yield task, verdict
        self.endpoint.give_up()

    def _by_request(self, tasks: Sequence[T]) -> list[list[T]]:
        """Tasks that show the judge the same, together."""
        groups: dict[str, list[T]] = {}
        for task in tasks:
            key = content_key(messages=self.prompts.messages(task), repeat=task.repeat)
            groups.setdefault(key, []).append(task)
        return list(groups.values())

    def _ask_together(self, batch: BatchRunner, tasks: Sequence[T]) -> None:
        """Bring the replies of all attempts into the store, a batch an attempt."""
        for attempt in range(self.attempts):
            calls = [batch.call(**self._asked(task, attempt)) for task in tasks]
            batch.run(calls)
            outcomes = [self.endpoint.stored(call.request.key) for call in calls]
            tasks = [t for t, o in zip(tasks, outcomes, strict=True) if self._is_unusable(o)]

    def _is_unusable(self, outcome: Outcome | None) -> bool:
        """Whether a reply has no rating, so that it is worth asking again."""
        return isinstance(outcome, Response) and self.read(outcome, self.rating)[1] is not None

    def _asked(self, task: T, attempt: int) -> dict[str, Any]:
        return {
            "messages": self.prompts.messages(task),
            "temperature": RETRY_TEMPERATURE if attempt else 0.0,
            "max_tokens": self.max_tokens,
            "repeat": task.repeat,
            "attempt": attempt,
            **self.more,
        }

    def _judge(self, task: T) -> Verdict:
        """Ask until the rating is usable, at most `attempts` times; then it is missing."""
        for attempt in range(self.attempts):
            try:
                response = self.endpoint.complete(**self._asked(task, attempt))
            except RequestRefusedError as error:
                missing = Missing(error.kind, error.reason, error.passing)
                return self._verdict(task, attempt, None, NO_RATING, missing)
            rating, lacking = self.read(response, self.rating)
            if lacking is None:
                break
        return self._verdict(task, attempt, response, rating, lacking)

    def _verdict(
        self,
        task: T,
        attempt: int,
        response: Response | None,
        rating: float,
        missing: Missing | None,
    ) -> Verdict:
        """The verdict with what its record says about how it came about."""
        facts: dict[str, Any] = {
            "references_sha256": self.prompts.references_sha256,
            "prompts_sha256": self.prompts.prompts_sha256,
            "attempts": attempt + 1,
        }
        if response is not None:
            facts |= response_facts(response) | {"rating_rule": self.rating}
        if missing is not None:
            facts |= missing_facts(missing)
        text = response.text if response is not None else ""
        return Verdict(rating, text, self.prompts.user_prompt(task), facts, missing)


def response_facts(response: Response) -> dict[str, Any]:
    """What a record keeps of a reply besides its text; what is empty is left out."""
    facts: dict[str, Any] = {"judge_model": response.model, "finish_reason": response.finish}
    for name in ("thoughts", "refusal", "system_role"):
        if value := getattr(response, name):
            facts[name] = value
    return facts


def note(watch: FailureWatch, verdict: Verdict, count: int) -> None:
    """Tell the watch what became of so many judgments."""
    if verdict.missing is None:
        watch.succeeded(count)
    else:
        missing = verdict.missing
        watch.failed(missing.kind, missing.reason, passing=missing.passing, count=count)
