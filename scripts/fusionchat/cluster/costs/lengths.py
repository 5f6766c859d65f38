"""How long a run's dialogues are: measured on its data file, or assumed until that is there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fusionchat.dialogues.mixture import Report, read_mixture
from fusionchat.errors import UserError
from fusionchat.models.tokenizer import read_tokenizer

SAMPLE = 2_000  # dialogues whose tokens are counted
ASSUMED = 4_096  # lengths to draw where none can be measured
MARKUP = 4  # tokens that a chat format puts around a message
BYTES_A_TOKEN = 3.9  # English prose; where the pivot's tokenizer is not here yet

Count = Callable[[Sequence[str]], list[int]]


@dataclass(frozen=True)
class Lengths:
    """Dialogues of a mixture and the parts that one is split into at `max_length`. Of these parts:
    a sample of their tokens, the mean number that the assistant says, and the longest that is to be
    expected. Megabytes of the file; and where all this is known from.
    """

    dialogues: float
    parts: float
    tokens: NDArray[np.float64]
    response_tokens: float
    longest: int
    megabytes: float
    origin: str

    @property
    def mean(self) -> float:
        """Tokens of a part."""
        return float(self.tokens.mean())


def assumed(known: Mapping[str, float], dialogues: float, limit: int, origin: str) -> Lengths:
    """Lengths spread like a logarithmic normal distribution around the assumed mean, up to the
    assumed longest; what is longer than `limit` is split evenly.
    """
    mean, spread, longest = known["tokens"], known["spread"], known["longest"]
    sigma = np.sqrt(np.log(1 + (spread / mean) ** 2))
    drawn = np.random.default_rng(0).lognormal(np.log(mean) - sigma**2 / 2, sigma, ASSUMED)
    for _ in range(8):  # what is cut off is given back to the rest
        drawn = np.clip(drawn * (mean / np.clip(drawn, 1, longest).mean()), 1, longest)
    count = np.ceil(drawn / limit).astype(int)
    tokens = np.repeat(drawn / count, count)
    response = known["response_tokens"] / float(count.mean())
    return Lengths(
        dialogues,
        float(count.mean()),
        tokens,
        response,
        int(tokens.max()),
        known["megabytes"],
        origin,
    )


def measured(path: Path, count: Count, limit: int, *, skip: bool, origin: str) -> Lengths:
    """Lengths of the dialogues of a file, in any format that a run reads."""
    dialogues = read_mixture(path, skip, Report())
    if not dialogues:
        raise UserError(f"{path} holds no dialogue")
    chosen = np.random.default_rng(0).permutation(len(dialogues))[:SAMPLE]
    sample = [dialogues[index].turns for index in sorted(chosen)]
    counts = iter(count([text for turns in sample for turn in turns for text in turn]))
    parts, answers = [], 0
    for turns in sample:
        sizes = [(next(counts) + MARKUP, next(counts) + MARKUP) for _ in turns]
        for part in _parts(sizes, limit):
            parts.append(sum(asked + said for asked, said in part))
            answers += sum(said - MARKUP + 1 for _, said in part)  # with the end of the turn
    if not parts:
        raise UserError(f"{path}: no turn of its dialogues fits data.max_length {limit}")
    return Lengths(
        len(dialogues),
        len(parts) / len(sample),
        np.array(parts, float),
        answers / len(parts),
        max(parts) if len(sample) == len(dialogues) else limit,
        path.stat().st_size / 1e6,
        origin,
    )


def _parts(sizes: Sequence[tuple[int, int]], limit: int) -> list[list[tuple[int, int]]]:
    """Blocks of consecutive turns within the limit, as the dialogues are split."""
    blocks: list[list[tuple[int, int]]] = [[]]
    for turn in sizes:
        if sum(map(sum, blocks[-1])) + sum(turn) > limit:
            blocks.append([])
        if sum(turn) <= limit:
            blocks[-1].append(turn)
    return [block for block in blocks if block]


def token_counter(folder: Path) -> Count:
    """Counts the tokens of texts by a model's tokenizer.json, else by their bytes."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return lambda texts: [round(len(text.encode()) / BYTES_A_TOKEN) for text in texts]
    tokenizer = read_tokenizer(file)
    return lambda texts: [
        len(encoded.ids)
        for encoded in tokenizer.encode_batch(list(texts), add_special_tokens=False)
    ]


@dataclass(frozen=True)
class Busy:
    """Tokens a dialogue that a training computes, padding included, and that its processes are
    busy with or wait for while the longest batch of a step is computed.
    """

    computed: float
    in_step: float


def busy_tokens(
    lengths: NDArray[np.float64], global_batch: int, micro_batch: int, processes: int, batching: str
) -> Busy:
    """The batches of the training's sampler, on a sample of lengths.

    A shuffled epoch is cut into global batches, each of them sorted by length and dealt to the
    processes step by step: padding goes to the longest of a micro-batch, and a process with a
    short one waits for the others.
    """
    drawn = np.random.default_rng(0).permutation(lengths)
    batch = min(global_batch, len(drawn))
    batches = drawn[: len(drawn) // batch * batch].reshape(-1, batch)
    together = micro_batch * processes
    padded = np.zeros((len(batches), -(-batch // together) * together))
    padded[:, :batch] = -np.sort(-batches, axis=1)
    dealt = padded.reshape(len(batches), -1, processes, micro_batch)
    tokens = dealt.sum(3) if batching == "packed" else dealt.max(3) * (dealt > 0).sum(3)
    return Busy(
        float(tokens.sum() / batches.size),
        float(tokens.max(2).sum() * processes / batches.size),
    )
