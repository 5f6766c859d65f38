"""Aligning from Python: a function for each program, with typed options."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fusionchat.alignment import spans_file, vocabulary
from fusionchat.alignment.aligned_store import AlignedWriter, Inputs, transfers
from fusionchat.alignment.groups import Aligner, PairCounts, changed_share, check_same_text
from fusionchat.alignment.response_tokens import (
    dialogue_ids,
    load_table,
    pair,
    read_tokens,
    usable_ids,
)
from fusionchat.models import token_table
from fusionchat.progress import progress
from fusionchat.readers.parquet import check_disjoint

CHECKED = 32  # dialogues whose texts are compared, to notice files of other tokenizers


@dataclass(frozen=True)
class Shard:
    """A shard of the pivot's and of a source's logit store, and the folders of their tokenizers."""

    pivot_logits: Path
    source_logits: Path
    pivot_model: Path
    source_model: Path


def align_tokens(
    shard: Shard,
    output: Path,
    method: Literal["spans", "dtw"] = "spans",
    max_changed: float = 0.2,
) -> None:
    """Align dialogue by dialogue; write the spans and the counts of the aligned pairs.

    A dialogue of whose text the source's tokenizer changes more than `max_changed` is left out: the
    source scored another text.
    """
    pivot = load_table(shard.pivot_model, shard.pivot_logits)
    source = load_table(shard.source_model, shard.source_logits)
    aligner = Aligner(pivot, source, method)
    common = usable_ids(shard.source_logits) & dialogue_ids(shard.pivot_logits)
    pivot_rows = read_tokens(shard.pivot_logits, pivot)
    source_rows = read_tokens(shard.source_logits, source)
    counts, aligned, identical, changed = PairCounts(pivot, source), 0, 0, 0
    unscored = len(dialogue_ids(shard.pivot_logits)) - len(common)
    facts = {
        "method": method,
        "equal_tokenizers": aligner.equal,
        "pivot_tokenizer": pivot.fingerprint,
        "source_tokenizer": source.fingerprint,
        "pivot_end_of_turn": pivot.pieces[pivot.roles["eos"]],
        "source_end_of_turn": source.pieces[source.roles["eos"]],
        "excluded": unscored,
    }
    with spans_file.SpansWriter(output, facts) as writer:
        rows = pair(pivot_rows, source_rows, common, str(shard.source_logits))
        for row, other in progress(rows, total=len(common), desc="align", unit="dialogue"):
            alignment = aligner.align(row, other)
            if not alignment.identity:
                if aligned < CHECKED:
                    check_same_text(pivot, source, row, other)
                if changed_share(pivot, source, row.ids, other.ids) > max_changed:
                    changed += 1
                    continue
                counts.add(row.ids, other.ids, alignment)
            writer.write(row.dialogue_id, alignment)
            aligned, identical = aligned + 1, identical + alignment.identity
        writer.finish(*counts.table())
    logging.info(
        "%s tokenizers; %d dialogues aligned, %d of them token by token, %d excluded",
        "equal" if aligner.equal else "different",
        *(aligned, identical, unscored + changed),
    )
    if changed:
        logging.warning(
            "%d dialogues are left out for %s: its tokenizer changes more than %g of their text",
            *(changed, shard.source_model.name, max_changed),
        )


def map_vocabulary(
    spans: Sequence[Path],
    pivot_model: Path,
    source_model: Path,
    output: Path,
    strategy: Literal["statistics", "statistics_reference", "min_edit", "exact"] = "statistics",
) -> None:
    """Sum the pair counts of all shards, choose a partner for each id, write the map."""
    check_disjoint(spans)
    facts = spans_file.read_facts(spans[0])
    pivot = token_table.load(pivot_model, facts.get("pivot_end_of_turn"))
    source = token_table.load(source_model, facts.get("source_end_of_turn"))
    for path in spans:
        vocabulary.check_tokenizers(path, spans_file.read_facts(path), pivot, source)
    tables = [spans_file.read_pairs(path) for path in spans]
    pairs = vocabulary.Pairs.sum(tables, pivot.size)
    chosen = vocabulary.build(pivot, source, pairs, strategy)
    vocabulary.write(output, chosen, pivot, source, strategy)
    counts = np.bincount(chosen.how, minlength=len(vocabulary.HOW))
    summary = [f"{n} {name}" for name, n in zip(vocabulary.HOW, counts, strict=True) if n]
    logging.info("%d source ids: %s", source.size, ", ".join(summary))


def transfer_logits(
    shard: Shard,
    spans: Path,
    vocabulary_map: Path,
    output: Path,
    rules: Literal["mass", "reference"] = "mass",
) -> None:
    """Write the source's distributions in the pivot's vocabulary, at the pivot's positions."""
    pivot = load_table(shard.pivot_model, shard.pivot_logits)
    source = load_table(shard.source_model, shard.source_logits)
    inputs = Inputs(shard.pivot_logits, shard.source_logits, spans, vocabulary_map)
    with AlignedWriter(output, inputs, pivot, source, rules) as writer:
        rows = transfers(inputs, pivot, source, rules)
        total = spans_file.count_dialogues(spans)
        for row in progress(rows, total=total, desc="transfer", unit="dialogue"):
            writer.write(*row)
    logging.info("%s", writer.summary())
