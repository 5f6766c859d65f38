"""What a model's tasks cost: tokens that are read, and steps in which a token is generated."""

from collections.abc import Mapping
from typing import Any

from fusionchat.schema import Config

ANY = "any"  # stands for a task that the table does not know


def task_work(leaderboard: Config, known: Mapping[str, Any]) -> tuple[float, float, float]:
    """Tokens that go through the model, steps of generating batches, and the longest prompt.

    `known`: of each task its documents, requests a document, tokens of a document or an example,
    and tokens that it lets generate.
    """
    tokens, steps, longest = 0.0, 0.0, 0.0
    for name, task in leaderboard["tasks"].items():
        facts = known.get(name, known[ANY])
        documents = min(facts["documents"], leaderboard.get("limit", facts["documents"]))
        prompt = (1 + task["shots"]) * facts["tokens"]
        tokens += documents * facts["requests"] * prompt
        steps += facts["generated"] * -(-documents // leaderboard["batch_size"])
        longest = max(longest, prompt)
    return tokens, steps, longest


def documents(leaderboard: Config, known: Mapping[str, Any]) -> float:
    """Documents of all tasks, each of which leaves a row."""
    counts = (known.get(name, known[ANY])["documents"] for name in leaderboard["tasks"])
    return sum(min(count, leaderboard.get("limit", count)) for count in counts)
