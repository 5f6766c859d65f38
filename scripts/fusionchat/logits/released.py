"""Dumps that the paper's authors released, as rows of the logit store.

Their `get_data_representation.py` stored raw logits of the top k at every position of the padded
dialogue (position i predicts token i + 1) and one cross-entropy, in float16. The sum over the full
vocabulary is lost, so log-probabilities are normalised over the listed entries.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fusionchat.dialogues.conversation import Encoded, response_bytes
from fusionchat.dialogues.dialogue import Dialogue
from fusionchat.dialogues.renderer import Renderer
from fusionchat.errors import UserError
from fusionchat.files import read_json_object
from fusionchat.logits.released_files import TOKEN_CE, Place, ReleasedFiles, split
from fusionchat.logits.store import DialogueLogits, response_positions, unusable
from fusionchat.progress import progress

IGNORED = -100  # a label that does not count
LENGTHS = ("input_ids", "attention_mask", "labels")


@dataclass(frozen=True)
class Index:
    """Where dialogues lie: hash of the token ids to place; `width`: tokens of the longest row."""

    places: dict[bytes, Place]
    width: int


def key(input_ids: np.ndarray) -> bytes:
    """A hash of token ids [L] of any integer type."""
    return hashlib.blake2b(input_ids.astype("<i4").tobytes(), digest_size=16).digest()


def length(attention_mask: np.ndarray) -> int:
    """Tokens before the padding on the right.

    The authors pad with the unknown token, so the mask is 0 inside a text that holds one as well.
    """
    return int(np.flatnonzero(attention_mask).max(initial=-1)) + 1


def index(files: ReleasedFiles) -> Index:
    """Find every dialogue in one pass; of equal ones the first counts."""
    places: dict[bytes, Place] = {}
    width = 0
    with progress(total=files.rows, desc="index", unit="dialogue") as bar:
        for first, batch in files.stream(["input_ids", "attention_mask"]):
            columns = zip(split(batch.column(0)), split(batch.column(1)), strict=True)
            for row, (ids, mask) in enumerate(columns):
                places.setdefault(key(ids[: length(mask)]), first._replace(row=row))
                width = max(width, len(ids))
            bar.update(batch.num_rows)
    return Index(places, width)


def normalised(logits: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` highest of the listed logits [N, K] and their ids, highest first.

    Log-softmax over these k alone, float32 [N, k], and ids int32 [N, k].
    """
    order = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    chosen = np.take_along_axis(logits, order, axis=1).astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinite logits become NaN
        logprobs = chosen - np.logaddexp.reduce(chosen, axis=1, keepdims=True)
    chosen_ids = np.take_along_axis(ids, order, axis=1)
    return logprobs.astype(np.float32), chosen_ids.astype(np.int32)


def convert(
    dialogue: Dialogue, encoded: Encoded, released: Mapping[str, np.ndarray], top_k: int
) -> DialogueLogits:
    """The row of one dialogue from a released one; unusable where a number is not finite.

    `ce` is the released mean over the released labels. `token_ce` is NaN where it was not stored.
    """
    positions = response_positions(encoded.spans)
    logits = released["per_step_logits"][positions - 1]
    logprobs, ids = normalised(logits, released["per_step_indices"][positions - 1], top_k)
    ce = float(released["metric_ce"])
    if not np.isfinite(ce) or np.isnan(logprobs).any():
        return unusable(dialogue.dialogue_id, encoded.input_ids, encoded.spans, top_k)
    token_ce = np.full(len(positions), np.nan, np.float16)
    if TOKEN_CE in released:
        labelled = released["labels"][positions] == encoded.input_ids[positions]
        token_ce[labelled] = released[TOKEN_CE][positions - 1][labelled]
    return DialogueLogits(
        dialogue_id=dialogue.dialogue_id,
        input_ids=encoded.input_ids,
        spans=encoded.spans,
        top_ids=ids,
        top_logprobs=logprobs.astype(np.float16),
        token_ce=token_ce,
        ce=ce,
        ce_byte=ce * len(positions) / response_bytes(dialogue),
    )


def vocabulary_size(folder: Path) -> int:
    """Entries of a model's distributions, as its config.json says."""
    config = read_json_object(folder / "config.json")
    text = config.get("text_config", config)
    size = text.get("vocab_size") if isinstance(text, dict) else None
    if not isinstance(size, int):
        raise UserError(f"{folder / 'config.json'} names no vocab_size")
    return size


@dataclass
class Outcome:
    """What became of a shard's dialogues: how many were converted, the identifiers of those that
    the dump lacks, and of those whose released labels are not exactly their response tokens.
    """

    converted: int = 0
    missing: list[str] = field(default_factory=list)
    other_labels: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Importer:
    """Rows of the logit store from a released dump, for dialogues as `dump_logits` tokenises them.

    `vocab_size`: entries of the model's distributions.
    """

    files: ReleasedFiles
    index: Index
    renderer: Renderer
    top_k: int
    vocab_size: int

    def rows(self, dialogues: Sequence[Dialogue], outcome: Outcome) -> Iterator[DialogueLogits]:
        """A row for each dialogue, in order; what the dump lacks becomes an unusable row.

        A dump that has none of the dialogues, or cross-entropies of other tokens, is a `UserError`.
        """
        for dialogue in dialogues:
            encoded = self.renderer.encode(dialogue)
            place = self.index.places.get(key(encoded.input_ids))
            if place is None:
                outcome.missing.append(dialogue.dialogue_id)
                yield unusable(dialogue.dialogue_id, encoded.input_ids, encoded.spans, self.top_k)
                continue
            released = self.files.row(place)
            self._check(released, dialogue.dialogue_id)
            outcome.converted += 1
            if not _same_labels(encoded, released["labels"]):
                outcome.other_labels.append(dialogue.dialogue_id)
            yield convert(dialogue, encoded, released, self.top_k)
        self._check_outcome(outcome)

    def _check(self, released: Mapping[str, np.ndarray], name: str) -> None:
        where = f"{self.files.folder}: dialogue {name}"
        ids = released["per_step_indices"]
        tokens, listed = released["per_step_logits"].shape
        if ids.shape != (tokens, listed) or {len(released[c]) for c in LENGTHS} != {tokens}:
            raise UserError(f"{where} is damaged: its columns differ in length")
        if TOKEN_CE in released and len(released[TOKEN_CE]) < tokens - 1:
            raise UserError(f"{where} is damaged: column {TOKEN_CE} is too short")
        if listed < self.top_k:
            raise UserError(
                f"{self.files.folder} lists {listed} entries a position, logits.top_k asks for "
                f"{self.top_k}"
            )
        if ids.min() < 0 or ids.max() >= self.vocab_size:
            raise UserError(
                f"{where}: token id {ids.max()} in column per_step_indices; the model has "
                f"{self.vocab_size} entries, so the dump is another model's or damaged"
            )

    def _check_outcome(self, outcome: Outcome) -> None:
        if not outcome.converted:
            raise UserError(
                f"{self.files.folder} holds none of these dialogues in the tokens of "
                f"{self.renderer.tokenizer.name_or_path} and template "
                f"{self.renderer.template.name!r}; it is the dump of "
                "other dialogues, or of a model with another tokenizer"
            )
        if len(outcome.other_labels) == outcome.converted:
            raise UserError(
                f"{self.files.folder}: column labels marks other tokens than the responses, so "
                "metric_ce is not their cross-entropy; was it made without --mask_instruction?"
            )
        if outcome.other_labels:
            logging.warning(
                "%s: %d of %d dialogues have other labels; their cross-entropies are taken as "
                "released",
                self.files.folder,
                len(outcome.other_labels),
                outcome.converted,
            )


def _same_labels(encoded: Encoded, labels: np.ndarray) -> bool:
    expected = np.full(len(labels), IGNORED)
    expected[: len(encoded.input_ids)] = encoded.labels()
    return np.array_equal(expected, labels)
