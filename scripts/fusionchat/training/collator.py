"""Dialogues with sparse teachers as batches: padded rows, or one packed row without padding."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from fusionchat.dialogues.conversation import Encoded, truncate
from fusionchat.logits.store import DialogueLogits, response_positions

BATCHINGS = ("padded", "packed")
IGNORED = -100


@dataclass(frozen=True)
class Example:
    """One training dialogue: tokens int32 [L], `responses` int64 [N] (indices of the response
    tokens) and their teachers, ids int32 [N, k] and log-probabilities float16 [N, k], or None.
    `known`: float16 [N], the share of each row that its entries hold; None: all.
    """

    input_ids: np.ndarray
    responses: np.ndarray
    top_ids: np.ndarray | None = None
    top_logprobs: np.ndarray | None = None
    known: np.ndarray | None = None


def example_from_tokens(encoded: Encoded, max_length: int) -> Example:
    """An example for plain CLM, cut to `max_length` tokens."""
    encoded = truncate(encoded, max_length)
    return Example(encoded.input_ids, response_positions(encoded.spans))


def example_from_fused(row: DialogueLogits, max_length: int) -> Example:
    """An example with its teacher, cut to `max_length` tokens like a CLM example."""
    cut = example_from_tokens(Encoded(row.input_ids, row.spans), max_length)
    count = len(cut.responses)
    known = None if row.known is None or (row.known == 1).all() else row.known[:count]
    return Example(
        cut.input_ids, cut.responses, row.top_ids[:count], row.top_logprobs[:count], known
    )


class Examples(Dataset[Example]):
    """The examples of a run; a dialogue without any response token is left out."""

    def __init__(self, examples: Iterable[Example] = ()):
        self._examples: list[Example] = []
        self.extend(examples)

    def extend(self, examples: Iterable[Example]) -> None:
        """Append examples."""
        self._examples += [example for example in examples if len(example.responses)]

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]

    def lengths(self) -> np.ndarray:
        """Tokens of each example, int64 [n]."""
        return np.array([len(example.input_ids) for example in self._examples])

    def highest_id(self) -> int:
        """The highest token id of all tokens and teachers."""
        highest = max(int(example.input_ids.max()) for example in self._examples)
        teachers = [e.top_ids for e in self._examples if e.top_ids is not None and e.top_ids.size]
        return max([highest, *(int(ids.max()) for ids in teachers)])


class Collator:
    """Makes a batch of examples; an empty list gives a batch without any response token.

    The batch: `input_ids`, `labels` int64 [B, L] (-100: not trained); `positions` int64 [N], where
    in the flattened batch the hidden state lies that predicts response token r; `targets` int64
    [N], these tokens; `top_ids` int32 and `top_logprobs` float16 [N, k] when there are teachers,
    `known` float16 [N] when some row does not hold all.
    Padded batches carry `attention_mask` [B, L]; packed ones [1, L] carry `position_ids` that
    begin at 0 with each dialogue, from which attention masks between dialogues follow.
    """

    def __init__(self, pad_id: int, batching: str = "padded"):
        if batching not in BATCHINGS:
            raise ValueError(f"batching {batching!r} is not one of {BATCHINGS}")
        self._pad_id = pad_id
        self._packed = batching == "packed"

    def __call__(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """Make one batch."""
        if not examples:
            examples = [Example(np.array([self._pad_id]), np.empty(0, np.int64))]
        lengths = np.array([len(example.input_ids) for example in examples])
        if self._packed:
            starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
            ids = np.concatenate([example.input_ids for example in examples])[None]
            extra = {"position_ids": np.arange(lengths.sum()) - np.repeat(starts, lengths)}
            extra["position_ids"] = extra["position_ids"][None]
        else:
            width = lengths.max()
            starts = np.arange(len(examples)) * width
            mask = np.arange(width) < lengths[:, None]
            ids = np.full(mask.shape, self._pad_id)
            ids[mask] = np.concatenate([example.input_ids for example in examples])
            extra = {"attention_mask": mask.astype(np.int64)}
        return self._tensors(examples, ids.astype(np.int64), starts, extra)

    def _tensors(
        self,
        examples: Sequence[Example],
        ids: np.ndarray,
        starts: np.ndarray,
        arrays: dict[str, np.ndarray],
    ) -> dict[str, torch.Tensor]:
        places = np.concatenate(
            [example.responses + start for example, start in zip(examples, starts, strict=True)]
        )
        labels = np.full(ids.size, IGNORED, dtype=np.int64)
        labels[places] = ids.reshape(-1)[places]
        arrays |= {
            "input_ids": ids,
            "labels": labels.reshape(ids.shape),
            "positions": places - 1,
            "targets": labels[places],
        }
        if any(example.top_ids is not None for example in examples):
            arrays |= _teachers(examples)
        if any(example.known is not None for example in examples):
            arrays["known"] = np.concatenate([_known(example) for example in examples])
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _known(example: Example) -> np.ndarray:
    everything = np.ones(len(example.responses), np.float16)
    return everything if example.known is None else example.known


def _teachers(examples: Sequence[Example]) -> dict[str, np.ndarray]:
    """Teachers of all examples, widened to the largest k with unused slots."""
    ids = [example.top_ids for example in examples if example.top_ids is not None]
    logs = [example.top_logprobs for example in examples if example.top_logprobs is not None]
    widest = max(part.shape[1] for part in ids)
    if any(part.shape[1] != widest for part in ids):
        missing = [((0, 0), (0, widest - part.shape[1])) for part in ids]
        ids = [np.pad(part, pad) for part, pad in zip(ids, missing, strict=True)]
        logs = [
            np.pad(part, pad, constant_values=-np.inf)
            for part, pad in zip(logs, missing, strict=True)
        ]
    return {
        "top_ids": np.concatenate(ids).astype(np.int32, copy=False),
        "top_logprobs": np.concatenate(logs).astype(np.float16, copy=False),
    }


class GlobalBatchSampler(Sampler[list[int]]):
    """Deals global batches of a shuffled epoch to ranks and accumulation steps.

    Which dialogues share a step depends on the seed and the epoch only, never on the number of
    processes. Inside a global batch dialogues are dealt by length, so that a micro-batch needs
    little padding and ranks wait little for each other. The last global batch may be smaller;
    then some micro-batches are smaller or empty, and no dialogue is seen twice.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        *,
        global_batch: int,
        micro_batch: int,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
    ):
        if global_batch % (micro_batch * world_size):
            raise ValueError(
                f"a global batch of {global_batch} is no multiple of micro-batch {micro_batch} x "
                f"{world_size} processes"
            )
        self._lengths = np.asarray(lengths)
        self._global, self._micro = global_batch, micro_batch
        self._rank, self._world_size, self._seed = rank, world_size, seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the shuffle of this epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        steps = -(-len(self._lengths) // self._global)
        return steps * (self._global // (self._micro * self._world_size))

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self._seed, self._epoch]).permutation(len(self._lengths))
        for start in range(0, len(order), self._global):
            batch = order[start : start + self._global]
            batch = batch[np.argsort(-self._lengths[batch], kind="stable")]
            for first in range(0, self._global, self._micro * self._world_size):
                first += self._rank * self._micro
                yield batch[first : first + self._micro].tolist()


class EpochLoader(DataLoader[Example]):
    """A data loader whose `set_epoch` reaches its batch sampler."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the shuffle of this epoch."""
        if isinstance(self.batch_sampler, GlobalBatchSampler):
            self.batch_sampler.set_epoch(epoch)
