"""Scoring dialogues with a causal language model: top-k log-probabilities and cross-entropies.

Only response positions go through the language modelling head, a chunk at a time, so the logits
of a whole batch never exist together.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fusionchat.dialogues.conversation import Encoded, response_bytes
from fusionchat.dialogues.dialogue import Dialogue
from fusionchat.dialogues.renderer import Renderer
from fusionchat.logits.steps import Steps
from fusionchat.logits.store import DialogueLogits, response_positions, unusable
from fusionchat.models.causal_lm import CausalLM

if TYPE_CHECKING:
    pass

Advance = Callable[[float], object]  # is told how many dialogues more are done

# Logits that exist at a time: few enough for a CPU's cache, enough to fill a GPU. Fewer rows than
# the minimum would read the head's weights too often.
CHUNK_ELEMENTS = {"cpu": 1 << 22, "cuda": 1 << 26}
MINIMUM_ROWS = 128


@dataclass(frozen=True)
class Scores:
    """What a model says of the N response tokens of a dialogue.

    `top_ids` int32 [N, k] and `top_logprobs` float32 [N, k], most probable first; `token_ce`
    float32 [N], nats: the negative log-probability of the token that is there. `steps`: the
    log-probabilities of prefixes, see `DialogueLogits`.
    """

    top_ids: np.ndarray
    top_logprobs: np.ndarray
    token_ce: np.ndarray
    steps: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def finite(self) -> bool:
        """Whether every number can be used; false if the model returned NaN or infinity."""
        return bool(np.isfinite(self.token_ce).all() and not np.isnan(self.top_logprobs).any())


def batches(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Groups of indices, longest first, whose padded size (rows x longest) is within the budget.

    What is longer than the budget has a batch of its own.
    """
    groups: list[list[int]] = []
    longest = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if not groups or (len(groups[-1]) + 1) * longest > token_budget:
            groups.append([])
            longest = lengths[index]
        groups[-1].append(index)
    return groups


def unseen(_dialogues: float) -> None:
    """Progress that nobody watches."""


def head_scores(
    model: CausalLM, hidden: torch.Tensor, targets: torch.Tensor, k: int, steps: Steps | None = None
) -> tuple[torch.Tensor, ...]:
    """Top-k ids [n, k], their log-softmax float32 [n, k] and the targets' cross-entropy [n].

    With `steps`, the masses of the targets' prefixes as well. `hidden` [n, H] goes through the head
    in chunks, whatever n is; `targets` are token ids [n].
    """
    rows = max(MINIMUM_ROWS, CHUNK_ELEMENTS[hidden.device.type] // model.vocab_size)
    parts = []
    for start in range(0, len(hidden), rows):
        logits = model.logits(hidden[start : start + rows])
        gold = targets[start : start + rows].to(logits.device)
        norm = torch.logsumexp(logits, dim=-1, keepdim=True)
        ce = norm.squeeze(-1) - logits.gather(-1, gold[:, None]).squeeze(-1)
        top = torch.topk(logits, k, dim=-1)
        masses = steps.masses((logits - norm).exp(), gold) if steps else ()
        parts.append((top.indices, top.values - norm, ce, *masses))
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def pad(batch: Sequence[Encoded]) -> torch.Tensor:
    """Token ids int64 [B, L] of dialogues, padded on the right to the longest.

    Padding repeats a token of the same dialogue: a NaN stays in the dialogue that has it.
    """
    longest = max(len(encoded.input_ids) for encoded in batch)
    input_ids = torch.empty((len(batch), longest), dtype=torch.long)
    for row, encoded in zip(input_ids, batch, strict=True):
        row[:] = int(encoded.input_ids[0])
        row[: len(encoded.input_ids)] = torch.from_numpy(encoded.input_ids)
    return input_ids


@torch.inference_mode()
def score_batch(
    model: CausalLM,
    batch: Sequence[Encoded],
    top_k: int,
    advance: Advance = unseen,
    steps: Steps | None = None,
) -> list[Scores]:
    """Scores of dialogues that go through the backbone together.

    Every layer advances by its share of the batch, which may take minutes; the head is one more.
    """
    share = len(batch) / (model.layers + 1)
    input_ids = pad(batch)
    positions = [response_positions(encoded.spans) for encoded in batch]
    longest = input_ids.shape[1]
    index = torch.from_numpy(np.concatenate([i * longest + p for i, p in enumerate(positions)]))
    with model.after_each_layer(lambda: advance(share)):
        hidden = model.hidden(input_ids).flatten(0, 1)
    hidden = hidden[(index - 1).to(hidden.device)]
    gold = input_ids.flatten()[index]
    k = min(top_k, model.vocab_size)
    ids, logprobs, ce, *masses = head_scores(model, hidden, gold, k, steps)
    advance(share)
    bounds = np.cumsum([len(part) for part in positions])[:-1]
    parts = [np.split(tensor.cpu().numpy(), bounds) for tensor in (ids.int(), logprobs.float(), ce)]
    scores = [Scores(*group) for group in zip(*parts, strict=True)]
    if steps:
        logs = steps.split([mass.cpu().numpy() for mass in masses], gold.numpy(), bounds)
        scores = [replace(one, steps=part) for one, part in zip(scores, logs, strict=True)]
    return scores


def score(
    model: CausalLM,
    encoded: Sequence[Encoded],
    top_k: int,
    token_budget: int,
    advance: Advance = unseen,
    steps: Steps | None = None,
) -> Iterator[tuple[int, Scores]]:
    """Scores of every dialogue with its index, in the order in which batches are made."""
    for batch in batches([len(e.input_ids) for e in encoded], token_budget):
        scores = score_batch(model, [encoded[i] for i in batch], top_k, advance, steps)
        yield from zip(batch, scores, strict=True)


@dataclass(frozen=True)
class Settings:
    """How dialogues are scored; `max_length` tokens is what the model can take (None: any)."""

    token_budget: int
    top_k: int = 0
    max_length: int | None = None


def score_dialogues(
    model: CausalLM,
    renderer: Renderer,
    dialogues: Sequence[Dialogue],
    settings: Settings,
    advance: Advance = unseen,
    steps: Steps | None = None,
) -> list[tuple[Encoded, Scores | None]]:
    """Token ids and scores in the order of the dialogues.

    No scores (None) for what is longer than `max_length`, and where the model returned a number
    that is not finite. `advance` hears of the dialogues that go through the model, also in parts.
    """
    encoded = [renderer.encode(dialogue) for dialogue in dialogues]
    limit = settings.max_length or max((len(e.input_ids) for e in encoded), default=0)
    fitting = [i for i, e in enumerate(encoded) if len(e.input_ids) <= limit]
    scores: list[Scores | None] = [None] * len(encoded)
    chosen = [encoded[i] for i in fitting]
    scored = score(model, chosen, settings.top_k, settings.token_budget, advance, steps)
    for index, one in scored:
        scores[fitting[index]] = one if one.finite else None
    return list(zip(encoded, scores, strict=True))


def dump(
    model: CausalLM,
    renderer: Renderer,
    dialogues: Sequence[Dialogue],
    settings: Settings,
    advance: Advance = unseen,
    steps: Steps | None = None,
) -> list[DialogueLogits]:
    """Rows of the logit store; a dialogue without scores becomes an unusable row."""
    k = min(settings.top_k, model.vocab_size)
    rows = []
    scored = score_dialogues(model, renderer, dialogues, settings, advance, steps)
    for dialogue, (encoded, scores) in zip(dialogues, scored, strict=True):
        if scores is None:
            rows.append(unusable(dialogue.dialogue_id, encoded.input_ids, encoded.spans, k))
            continue
        nats = float(scores.token_ce.sum(dtype=np.float64))
        rows.append(
            DialogueLogits(
                dialogue_id=dialogue.dialogue_id,
                input_ids=encoded.input_ids,
                spans=encoded.spans,
                top_ids=scores.top_ids,
                top_logprobs=scores.top_logprobs.astype(np.float16),
                token_ce=scores.token_ce.astype(np.float16),
                ce=nats / len(scores.token_ce),
                ce_byte=nats / response_bytes(dialogue),
                steps=scores.steps,
            )
        )
    return rows


def measure_nll(
    model: CausalLM,
    renderer: Renderer,
    dialogues: Sequence[Dialogue],
    settings: Settings,
    advance: Advance = unseen,
) -> dict[str, Any]:
    """Nats a response token (`nll`) and byte (`nll_byte`) over all dialogues that can be scored.

    `per_dialogue` has a row [id, category, nats, tokens, bytes] for each of them, `unusable` the
    identifiers of the others. No dialogue at all gives None.
    """
    rows: list[list[Any]] = []
    lost = []
    for dialogue, (_, scores) in zip(
        dialogues, score_dialogues(model, renderer, dialogues, settings, advance), strict=True
    ):
        if scores is None:
            lost.append(dialogue.dialogue_id)
            continue
        nats = float(scores.token_ce.sum(dtype=np.float64))
        counts = [len(scores.token_ce), response_bytes(dialogue)]
        rows.append([dialogue.dialogue_id, dialogue.category, nats, *counts])
    nats = sum(row[2] for row in rows)
    return {
        "nll": nats / sum(row[3] for row in rows) if rows else None,
        "nll_byte": nats / sum(row[4] for row in rows) if rows else None,
        "per_dialogue": rows,
        "unusable": lost,
    }
