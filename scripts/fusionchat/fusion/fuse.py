"""Fusion functions: which distribution teaches a target (equation 3 of the paper).

Everything is resolved once, offline, in float32. Candidate 0 is always the pivot.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fusionchat.logits.store import DialogueLogits

FUNCTIONS = ("min_ce", "avg_ce")
LEVELS = ("dialogue", "token")
PIVOT = 0


@dataclass(frozen=True)
class Fused:
    """The teacher of one dialogue.

    `row` holds its distributions, `winner` the candidate that gave (most of) them, for a mixture
    the one with the lowest cross-entropy, and `ces` the float32 cross-entropies of the dialogue,
    nats a response byte, NaN where a candidate is excluded.
    """

    row: DialogueLogits
    winner: int
    ces: np.ndarray


def choose(ces: np.ndarray) -> int:
    """Index of the lowest cross-entropy: ties go to the first (the pivot), NaN never wins."""
    ces = np.asarray(ces, dtype=np.float32)
    if np.isnan(ces).all():
        return PIVOT
    return int(np.nanargmin(ces))


def reward_weights(ces: np.ndarray) -> np.ndarray:
    """Weights of `avg_ce` over the first axis: softmax of the rewards exp(-CE); NaN weighs 0.

    This is the `weighted` teacher of the released trainer. `ces`: [candidates, ...], nats a token;
    the weights are float64 of the same shape. Where all are NaN, the pivot weighs 1.
    """
    rewards = np.exp(-np.asarray(ces, dtype=np.float64))
    weights = np.where(np.isnan(rewards), 0.0, np.exp(rewards))  # rewards lie between 0 and 1
    weights[PIVOT] = np.where(weights.sum(axis=0) == 0, 1.0, weights[PIVOT])
    return weights / weights.sum(axis=0)


def mix(
    ids: Sequence[np.ndarray], probabilities: Sequence[np.ndarray], weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean of sparse distributions: ids int32 and probabilities float64, both [N, K].

    `ids` and `probabilities` hold one [N, k_j] array a candidate; `weights` holds a number for
    each, or an array that broadcasts to [N, k_j].
    K = sum of the k_j. An id that several candidates know keeps one slot with the sum, its other
    slots get probability 0.
    """
    all_ids = np.concatenate(ids, axis=1)
    mass = np.concatenate(
        [weight * part for weight, part in zip(weights, probabilities, strict=True)], axis=1
    ).astype(np.float64)
    order = np.argsort(all_ids, axis=1, kind="stable")
    all_ids = np.take_along_axis(all_ids, order, axis=1)
    mass = np.take_along_axis(mass, order, axis=1)
    for slot in range(all_ids.shape[1] - 1):
        same = all_ids[:, slot] == all_ids[:, slot + 1]
        mass[same, slot + 1] += mass[same, slot]
        mass[same, slot] = 0.0
    by_mass = np.argsort(-mass, axis=1, kind="stable")
    return np.take_along_axis(all_ids, by_mass, axis=1), np.take_along_axis(mass, by_mass, axis=1)


def fuse_dialogue(
    candidates: Sequence[DialogueLogits | None],
    function: str = "min_ce",
    level: str = "dialogue",
    groups: Sequence[np.ndarray | None] = (),
) -> Fused:
    """Resolve the teacher of one dialogue.

    `candidates`: the pivot's row first, then each source's row in the pivot's vocabulary and at
    the pivot's response positions, or None where the source does not have the dialogue. `min_ce`
    compares nats a byte for the whole dialogue (the paper) or, at `level` token, the summed nats
    of each aligned span. `avg_ce` mixes all candidates with one weight each a dialogue or span.
    `groups` holds, a source, how many response tokens each of its aligned spans has; None or
    nothing: one each. Spans of several sources are joined until their ends coincide.
    """
    pivot = candidates[PIVOT]
    if pivot is None:
        raise ValueError("the pivot's row is missing")
    ces = np.array([np.nan if c is None else c.ce_byte for c in candidates], dtype=np.float32)
    rows = [
        pivot if candidate is None or np.isnan(ce) else _with_fallback(candidate, pivot)
        for candidate, ce in zip(candidates, ces, strict=True)
    ]
    if function == "min_ce" and level == "dialogue":
        winner = choose(ces)
        return Fused(replace(rows[winner], known=_known(rows[winner])), winner, ces)
    if level == "dialogue":
        return _avg_ce(rows, _nats_a_token(pivot, ces)[:, None], ces)
    starts = span_starts(len(pivot.token_ce), groups)
    costs = np.stack([_span_costs(row, ce, starts) for row, ce in zip(rows, ces, strict=True)])
    sizes = np.diff(np.append(starts, len(pivot.token_ce)))
    if function == "min_ce":
        return _min_ce_by_span(rows, costs, sizes, ces)
    return _avg_ce(rows, np.repeat(costs / sizes, sizes, axis=1), ces)


def span_starts(count: int, groups: Sequence[np.ndarray | None]) -> np.ndarray:
    """First token of each span that ends where a span of every source ends, int64 [spans]."""
    begins = np.ones(count, dtype=bool)
    for sizes in groups:
        if sizes is not None:
            first = np.zeros(count + 1, dtype=bool)
            first[np.concatenate([[0], np.cumsum(sizes)])] = True
            begins &= first[:count]
    return np.flatnonzero(begins)


def narrowed(row: DialogueLogits, top_k: int) -> DialogueLogits:
    """The row with the `top_k` most probable entries of each position, most probable first."""
    order = np.argsort(-row.top_logprobs.astype(np.float32), axis=1, kind="stable")[:, :top_k]
    return replace(
        row,
        top_ids=np.take_along_axis(row.top_ids, order, axis=1),
        top_logprobs=np.take_along_axis(row.top_logprobs, order, axis=1),
    )


def _with_fallback(row: DialogueLogits, pivot: DialogueLogits) -> DialogueLogits:
    """Positions where nothing could be transferred take the pivot's distribution."""
    if row is pivot:
        return row
    empty = ~np.isfinite(row.top_logprobs).any(axis=1)
    if not empty.any():
        return row
    (row_ids, row_logs), (pivot_ids, pivot_logs) = _same_width([row, pivot])
    return replace(
        row,
        top_ids=np.where(empty[:, None], pivot_ids, row_ids),
        top_logprobs=np.where(empty[:, None], pivot_logs, row_logs),
        known=np.where(empty, _known(pivot), _known(row)),
    )


def _known(row: DialogueLogits) -> np.ndarray:
    """The known share of each row, float16 [N]."""
    return np.ones(len(row.top_ids), np.float16) if row.known is None else row.known


def _same_width(rows: Sequence[DialogueLogits]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(ids, log-probabilities) of each row, with unused slots up to the widest."""
    width = max(row.top_ids.shape[1] for row in rows)
    result = []
    for row in rows:
        missing = ((0, 0), (0, width - row.top_ids.shape[1]))
        result.append(
            (
                np.pad(row.top_ids, missing),
                np.pad(row.top_logprobs, missing, constant_values=-np.inf),
            )
        )
    return result


def _span_costs(row: DialogueLogits, ce: float, starts: np.ndarray) -> np.ndarray:
    """Summed cross-entropy of each span, float32 [spans]; infinite where the source has none."""
    if np.isnan(ce):
        return np.full(len(starts), np.inf, dtype=np.float32)
    costs = np.add.reduceat(row.token_ce.astype(np.float32), starts) if len(starts) else starts
    return np.where(np.isnan(costs), np.inf, costs).astype(np.float32)


def _min_ce_by_span(
    rows: Sequence[DialogueLogits], costs: np.ndarray, sizes: np.ndarray, ces: np.ndarray
) -> Fused:
    winners = np.repeat(costs.argmin(axis=0), sizes)
    widened = _same_width(rows)
    positions = np.arange(len(winners))
    row = replace(
        rows[PIVOT],
        top_ids=np.stack([ids for ids, _ in widened])[winners, positions],
        top_logprobs=np.stack([logs for _, logs in widened])[winners, positions],
        known=np.stack([_known(row) for row in rows])[winners, positions],
    )
    counts = np.bincount(winners, minlength=len(rows))
    return Fused(row, int(counts.argmax()), ces)


def _nats_a_token(pivot: DialogueLogits, ces: np.ndarray) -> np.ndarray:
    """Cross-entropies in nats a byte, expressed in nats a token of the pivot; float32."""
    scale = pivot.ce / pivot.ce_byte if pivot.ce_byte else 1.0
    return (ces * scale).astype(np.float32)


def _avg_ce(rows: Sequence[DialogueLogits], costs: np.ndarray, ces: np.ndarray) -> Fused:
    """Mix with one weight a candidate (`costs` [candidates, 1]) or one a token ([candidates, N]).

    `costs` are nats a token; what is not finite has no weight.
    """
    costs = np.where(np.isfinite(costs), costs, np.nan)
    weights = reward_weights(costs)
    probabilities = [np.exp(row.top_logprobs.astype(np.float64)) for row in rows]
    ids, mass = mix([row.top_ids for row in rows], probabilities, weights[:, :, None])
    with np.errstate(divide="ignore"):
        logs = np.log(mass).astype(np.float16)
    known = (np.broadcast_to(weights, (len(rows), len(logs))) * [_known(r) for r in rows]).sum(
        axis=0
    )
    row = replace(
        rows[PIVOT],
        top_ids=ids.astype(np.int32),
        top_logprobs=logs,
        known=known.astype(np.float16),
    )
    return Fused(row, choose(ces), ces)
