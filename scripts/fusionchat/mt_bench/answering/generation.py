"""Batched generation with a key-value cache: sorted by length, finished rows dropped."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import Cache

from fusionchat.mt_bench.answering.dialogue_engine import Completion, Request
from fusionchat.mt_bench.answering.growing_cache import grows, join, new_cache
from fusionchat.mt_bench.answering.sampling import choose_tokens

# Rows are moved together when this share of the batch or less is still running.
COMPACT_BELOW = 0.8
# Prompts are run together up to so many tokens, padding included: it saves padding and memory.
PREFILL_TOKENS = 4096


def generate(
    model: Any,
    requests: Sequence[Request],
    *,
    max_new_tokens: int,
    stop_ids: set[int],
    batch_size: int,
    top_k: int | None = None,
) -> list[Completion]:
    """Continue every request, at most `batch_size` at a time; results in the order of `requests`.

    The result of a request does not depend on the other requests, but for the rounding of
    floating point sums.
    """
    order = sorted(range(len(requests)), key=lambda i: len(requests[i].input_ids), reverse=True)
    results: dict[int, Completion] = {}
    for start in range(0, len(order), batch_size):
        chunk = order[start : start + batch_size]
        batch = _Batch(model, [requests[i] for i in chunk], max_new_tokens, stop_ids, top_k)
        results.update(zip(chunk, batch.run(), strict=True))
    return [results[i] for i in range(len(requests))]


def prefill_groups(requests: Sequence[Request]) -> Iterator[list[Request]]:
    """Cut requests, longest first, into groups of at most `PREFILL_TOKENS` tokens with padding."""
    group: list[Request] = []
    for request in requests:
        if group and (len(group) + 1) * len(group[0].input_ids) > PREFILL_TOKENS:
            yield group
            group = []
        group.append(request)
    yield group


class _Batch:
    """One batch of requests from prefill to the end; rows leave when they finish."""

    def __init__(
        self,
        model: Any,
        requests: list[Request],
        max_new_tokens: int,
        stop_ids: set[int],
        top_k: int | None,
    ) -> None:
        self.model, self.device = model, model.device
        context = getattr(model.config, "max_position_embeddings", None) or 10**9
        self.limits = [min(max_new_tokens, context - len(r.input_ids)) for r in requests]
        self.max_new_tokens = max_new_tokens
        self.stop_ids, self.top_k = stop_ids, top_k
        self.requests = requests
        self.tokens: list[list[int]] = [[] for _ in requests]
        self.finish: list[str | None] = [None if limit > 0 else "context" for limit in self.limits]
        self.rows = [row for row, limit in enumerate(self.limits) if limit > 0]

    @torch.inference_mode()
    def run(self) -> list[Completion]:
        """Decode until every row has finished."""
        if self.rows:
            logits = self._prefill()
            step = 0
            while True:
                self._take(self._choose(logits, step))
                if all(self.finish[row] for row in self.rows):
                    break
                self._compact()
                logits = self._step()
                step += 1
        return [
            Completion(tuple(tokens), finish or "length")
            for tokens, finish in zip(self.tokens, self.finish, strict=True)
        ]

    def _prefill(self) -> torch.Tensor:
        """Run the prompts and return the logits of their last positions [B, V]."""
        chosen = [self.requests[row] for row in self.rows]
        self.temperatures = torch.tensor([r.temperature for r in chosen], device=self.device)
        self.keys = torch.tensor([r.key for r in chosen], device=self.device)
        groups = prefill_groups(chosen) if grows(self.model) else [chosen]
        logits, masks, caches = zip(*map(self._run_prompts, groups), strict=True)
        widths = [mask.shape[1] for mask in masks]
        self.mask = torch.cat([pad(mask, (max(widths) - mask.shape[1], 0)) for mask in masks])
        self.positions = self.mask.sum(1)
        self.cache = join(caches, widths)
        return torch.cat(logits)

    def _run_prompts(self, requests: list[Request]) -> tuple[torch.Tensor, torch.Tensor, Cache]:
        """Last logits [B, V], mask [B, width] and cache of prompts, padded on the left."""
        width = max(len(r.input_ids) for r in requests)
        ids = torch.zeros((len(requests), width), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, request in enumerate(requests):
            ids[row, width - len(request.input_ids) :] = torch.tensor(request.input_ids)
            mask[row, width - len(request.input_ids) :] = 1
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        mask, cache = mask.to(self.device), new_cache(self.model)
        logits = self._forward(ids.to(self.device), mask, positions.to(self.device), cache)
        return logits, mask, cache

    def _step(self) -> torch.Tensor:
        """Feed the newest token of every row; logits [B, V] of the next one."""
        self.mask = pad(self.mask, (0, 1), value=1)
        newest, positions = self.newest[:, None], self.positions[:, None]
        logits = self._forward(newest, self.mask, positions, self.cache)
        self.positions = self.positions + 1
        return logits

    def _forward(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Cache
    ) -> torch.Tensor:
        """Logits [B, V] after the last of the tokens `ids` [B, n]; `mask` spans the cache too."""
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1]

    def _choose(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """The token int64 [B] that each row takes, its `step`-th."""
        steps = torch.full((len(self.rows),), step, dtype=torch.int64, device=self.device)
        return choose_tokens(logits, self.temperatures, self.keys, steps, self.top_k)

    def _take(self, newest: torch.Tensor) -> None:
        """Append the newest tokens int64 [B] to their rows and mark the rows that end."""
        self.newest = newest
        for row, token in zip(self.rows, newest.tolist(), strict=True):
            if self.finish[row]:
                continue
            if token in self.stop_ids:
                self.finish[row] = "stop"
                continue
            self.tokens[row].append(token)
            if len(self.tokens[row]) == self.limits[row]:
                short = self.limits[row] < self.max_new_tokens
                self.finish[row] = "context" if short else "length"

    def _compact(self) -> None:
        """Take finished rows out of the batch when there are enough of them to pay for the copy."""
        running = [i for i, row in enumerate(self.rows) if not self.finish[row]]
        if len(running) > COMPACT_BELOW * len(self.rows):
            return
        kept = torch.tensor(running, device=self.device)
        self.cache.batch_select_indices(kept)
        for name in ("mask", "positions", "temperatures", "keys", "newest"):
            setattr(self, name, getattr(self, name)[kept])
        self.rows = [self.rows[i] for i in running]
